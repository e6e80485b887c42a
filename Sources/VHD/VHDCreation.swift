import Glibc
import Storage

/// What a new VHD is to be.
public struct VHDCreation: Sendable {
  public enum Kind: Sendable {
    /// The disk's bytes as they are; with `reserve` the host sets room for them aside.
    case fixed(reserve: Bool)
    case dynamic
    /// Shows what `parent` shows until it is written.
    case differencing(parent: VHDParent)
  }

  public var kind: Kind
  /// Bytes: whole sectors of 512, at most `largestSize`; for a differencing image the parent's.
  public var virtualSize: UInt64
  /// Bytes of disk that a block holds: 512 KiB or 2 MiB, the only ones that Windows takes.
  public var blockSize: UInt32
  /// Rounds the size up to whole mebibytes, which Azure demands of fixed images.
  public var roundsUpToMebibyte: Bool
  /// The identity that children remember.
  public var uniqueID: GUID
  /// Seconds since 2000-01-01 UTC.
  public var timeStamp: UInt32
  /// Any power of two from 512 bytes on as the block size, as the format has it: for tests, which want many blocks.
  package var takesAnyBlockSize = false

  /// 2040 GiB: Microsoft's limit, which keeps the file within reach of 32-bit sector numbers.
  public static let largestSize: UInt64 = 2040 << 30
  public static let blockSizes: [UInt32] = [512 << 10, 2 << 20]

  public init(
    kind: Kind, virtualSize: UInt64, blockSize: UInt32 = 2 << 20, roundsUpToMebibyte: Bool = false,
    uniqueID: GUID = .random(), timeStamp: UInt32 = VHDCreation.timeStampNow()
  ) {
    self.kind = kind
    self.virtualSize = virtualSize
    self.blockSize = blockSize
    self.roundsUpToMebibyte = roundsUpToMebibyte
    self.uniqueID = uniqueID
    self.timeStamp = timeStamp
  }

  /// The format's way to tell the time now.
  public static func timeStampNow() -> UInt32 { timeStamp(secondsSince1970: Int64(time(nil))) }

  /// Seconds since 2000-01-01 UTC; 0 and the largest number for times out of range.
  public static func timeStamp(secondsSince1970 seconds: Int64) -> UInt32 {
    UInt32(clamping: seconds - 946_684_800)
  }
}

/// What a new differencing image records of its parent.
public struct VHDParent: Sendable {
  /// The parent's `Footer.uniqueID`.
  public var uniqueID: GUID
  /// The parent's modification time, seconds since 2000-01-01 UTC, or 0 for "not said", as Windows 10 writes.
  public var timeStamp: UInt32
  /// From the child's directory to the parent, with either separator.
  public var relativePath: String
  /// With either separator.
  public var absolutePath: String

  public init(uniqueID: GUID, timeStamp: UInt32, relativePath: String, absolutePath: String) {
    self.uniqueID = uniqueID
    self.timeStamp = timeStamp
    self.relativePath = relativePath
    self.absolutePath = absolutePath
  }

  /// As Windows writes it: `.\name`.
  var recordedRelativePath: String {
    let path = VHDParent.withBackslashes(relativePath)
    return path.hasPrefix(".\\") || path.hasPrefix("..\\") ? path : ".\\" + path
  }

  var recordedAbsolutePath: String { VHDParent.withBackslashes(absolutePath) }

  /// The whole path as Windows does it; where it is too long for the field, the name, which is all that
  /// counts.
  var recordedName: String {
    let path = recordedAbsolutePath
    return path.utf16.count <= 255 ? path : String(path.split(separator: "\\").last ?? "")
  }

  /// What the locator W2ru leads to: UTF-16, little-endian, without a terminator.
  var relativePathData: [UInt8] { VHDParent.utf16(recordedRelativePath) }
  /// What the locator W2ku leads to.
  var absolutePathData: [UInt8] { VHDParent.utf16(recordedAbsolutePath) }

  /// Errors: `.invalidParameter` for paths longer than Windows knows.
  func check(for child: HostFile) throws(ImageError) {
    guard absolutePath.utf16.count > 32767 || relativePath.utf16.count > 32765 else { return }
    throw ImageError(
      .invalidParameter, "\(escaped(child.path)): the parent's path is too long to be recorded")
  }

  private static func utf16(_ text: String) -> [UInt8] {
    text.utf16.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
  }

  private static func withBackslashes(_ path: String) -> String {
    String(path.map { $0 == "/" ? "\\" : $0 })
  }
}
