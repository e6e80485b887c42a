import Storage

/// The file format of an image, by its contents and never by its name.
public enum ImageFormat: String, Sendable {
  case vhd, vhdx, vhds
}

/// How an image stores its disk.
public enum ImageType: String, Sendable {
  case fixed, dynamic, differencing
}

/// What an image file says of itself, and what the host says of it. Sizes are bytes.
public struct ImageFacts: Sendable {
  public var format: ImageFormat
  public var type: ImageType
  /// Bytes of the disk.
  public var virtualSize: UInt64
  /// Bytes of the file from first to last, and bytes of room it uses on the host.
  public var hostStatus: HostFileStatus
  /// Bytes a block of a dynamic or differencing image holds; nil for a fixed VHD.
  public var blockSize: UInt64?
  /// 512 or 4096.
  public var logicalSectorSize: UInt32
  /// 512 or 4096.
  public var physicalSectorSize: UInt32
  /// VHDX: the "page 83" identity, equal along a chain. VHD: the footer's unique id.
  public var virtualDiskID: GUID
  /// VHDX only: the identity of the content, which children remember.
  public var dataWriteGUID: GUID?
  /// Differencing only: what the parent's identity must be.
  public var parentIdentifier: GUID?
  /// Differencing only: the parent's paths as the image records them, in the order in which they are tried.
  public var recordedParentPaths: [String]
  /// The program that made the image, as the image says; not trusted for anything.
  public var creator: String
  /// VHDX only: the log holds changes that are not in their places yet.
  public var logIsDirty: Bool?
  /// VHD only: the virtual machine is in saved state, which forbids compaction and resizing.
  public var isInSavedState: Bool?
  /// Data begins at multiples of 4096 bytes in the file.
  public var isAligned4K: Bool

  public init(
    format: ImageFormat, type: ImageType, virtualSize: UInt64, hostStatus: HostFileStatus, blockSize: UInt64?,
    logicalSectorSize: UInt32, physicalSectorSize: UInt32, virtualDiskID: GUID, dataWriteGUID: GUID? = nil,
    parentIdentifier: GUID? = nil, recordedParentPaths: [String] = [], creator: String,
    logIsDirty: Bool? = nil,
    isInSavedState: Bool? = nil, isAligned4K: Bool
  ) {
    self.format = format
    self.type = type
    self.virtualSize = virtualSize
    self.hostStatus = hostStatus
    self.blockSize = blockSize
    self.logicalSectorSize = logicalSectorSize
    self.physicalSectorSize = physicalSectorSize
    self.virtualDiskID = virtualDiskID
    self.dataWriteGUID = dataWriteGUID
    self.parentIdentifier = parentIdentifier
    self.recordedParentPaths = recordedParentPaths
    self.creator = creator
    self.logIsDirty = logIsDirty
    self.isInSavedState = isInSavedState
    self.isAligned4K = isAligned4K
  }
}
