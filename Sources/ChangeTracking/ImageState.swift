import Storage

/// What an image file is now, as far as it tells whether somebody else wrote it.
public struct ImageState: Sendable, Equatable {
  /// The identities that a VHDX renews whenever it is written; a VHD has none.
  public struct WriteIdentity: Sendable, Equatable {
    public var fileWriteGUID: GUID
    public var dataWriteGUID: GUID

    public init(fileWriteGUID: GUID, dataWriteGUID: GUID) {
      self.fileWriteGUID = fileWriteGUID
      self.dataWriteGUID = dataWriteGUID
    }

    static let none = WriteIdentity(fileWriteGUID: .zero, dataWriteGUID: .zero)
  }

  public var identity: FileIdentity
  /// Bytes of the file.
  public var fileSize: UInt64
  /// Time of the last change, nanoseconds since 1970.
  public var modified: Int64
  /// Bytes of the disk.
  public var diskSize: UInt64
  /// Nil for a VHD.
  public var writes: WriteIdentity?

  public init(
    identity: FileIdentity, fileSize: UInt64, modified: Int64, diskSize: UInt64, writes: WriteIdentity?
  ) {
    self.identity = identity
    self.fileSize = fileSize
    self.modified = modified
    self.diskSize = diskSize
    self.writes = writes
  }
}
