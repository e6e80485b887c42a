import Storage
import SystemPackage
import VHD
import VHDX
import VirtualDisk

/// The making of a new image. What is nil is chosen: from the parent for a child, as Hyper-V does for others.
///
/// The file appears under its name only when it is whole and durable; an existing one is never replaced, and nothing
/// is left of one that could not be made. A parent is only read.
public struct DiskCreation: Sendable {
  public var path: String
  /// `.vhd` or `.vhdx`.
  public var format: ImageFormat
  public var type: ImageType
  /// Bytes of the disk. Needed unless there is a parent.
  public var virtualSize: UInt64?
  /// Bytes of a block.
  public var blockSize: UInt64?
  public var logicalSectorSize: UInt32?
  public var physicalSectorSize: UInt32?
  /// Differencing only: the image to show until something is written.
  public var parent: String?
  /// Where the parent's own parents may be found besides.
  public var parentDirectories: [String] = []
  /// Fixed only: the host sets the room aside at once.
  public var reservesRoom = false
  /// Fixed VHD only: the size is made a multiple of 1 MiB, as Azure wants it.
  public var isForAzure = false

  public init(path: String, format: ImageFormat, type: ImageType) {
    self.path = path
    self.format = format
    self.type = type
  }

  /// Makes the image. Waits.
  ///
  /// Errors: `.invalidParameter` for what does not go together or is not possible in the format; `.inUse` when the
  /// parent is being written; what is wrong with the parent; the system's.
  public func run() throws(ImageError) {
    try check()
    switch format {
    case .vhdx: try makeVHDX()
    case .vhd: try makeVHD()
    case .vhds: throw refusal("sets of disks cannot be made yet", .notSupported)
    }
  }

  func refusal(_ what: String, _ value: ReturnValue = .invalidParameter) -> ImageError {
    ImageError(value, "\(escaped(path)): \(what)")
  }

  private func check() throws(ImageError) {
    if type == .differencing {
      guard parent != nil else { throw refusal("a differencing image needs a parent") }
    } else {
      guard parent == nil else { throw refusal("only a differencing image has a parent") }
      guard virtualSize != nil else { throw refusal("the size of the disk is needed") }
    }
    if type == .fixed, blockSize != nil, format == .vhd {
      throw refusal("a fixed VHD has no blocks, so no block size")
    }
    if type != .fixed, reservesRoom { throw refusal("only a fixed image reserves its room") }
    if isForAzure, type != .fixed || format != .vhd { throw refusal("Azure takes fixed VHDs only") }
  }
}
