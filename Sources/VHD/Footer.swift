import Storage

/// The hard disk footer: the last 512 bytes of every VHD, with a copy at the beginning of one that has blocks
/// (format paper, "Hard Disk Footer Format"). All numbers are big-endian.
public struct Footer: Hashable, Sendable {
  /// Bytes.
  public static let length = 512
  static let dataOffsetField = 16
  static let checksumField = 64

  /// Offset 8, "Features".
  public var features: FooterFeatures = .reserved
  /// Offset 12, "File Format Version": major and minor, 16 bits each. 0x00010000 is the only one.
  public var formatVersion: UInt32 = 0x0001_0000
  /// Offset 16, "Data Offset": where the dynamic header lies; all ones in a fixed file.
  public var dataOffset: UInt64 = .max
  /// Offset 24, "Time Stamp": seconds since 2000-01-01 00:00:00 UTC; creation or last change, depending on
  /// the writer.
  public var timeStamp: UInt32 = 0
  /// Offset 28, "Creator Application".
  public var creatorApplication: FourCharacterCode = .windows
  /// Offset 32, "Creator Version": major and minor, 16 bits each.
  public var creatorVersion: UInt32 = 0
  /// Offset 36, "Creator Host OS".
  public var creatorHost: FourCharacterCode = .windowsHost
  /// Offset 40, "Original Size": bytes of the disk when it was made; informative.
  public var originalSize: UInt64 = 0
  /// Offset 48, "Current Size": bytes of the disk.
  public var currentSize: UInt64 = 0
  /// Offset 56, "Disk Geometry".
  public var geometry = DiskGeometry(cylinders: 0, heads: 0, sectorsPerTrack: 0)
  /// Offset 60, "Disk Type".
  public var diskType: DiskType = .fixed
  /// Offset 68, "Unique Id": what a child remembers of its parent.
  public var uniqueID: GUID = .zero
  /// Offset 84, "Saved State": the machine is in saved state; the disk must not be compacted or resized.
  public var isInSavedState = false

  /// What 512 bytes turned out to be.
  enum Finding {
    case valid(Footer)
    /// The cookie is there but the checksum is wrong.
    case wrongChecksum
    /// No footer at all.
    case noCookie
  }

  static let cookie: UInt64 = 0x636F_6E65_6374_6978  // "conectix"

  static func examine(_ bytes: UnsafeRawBufferPointer) -> Finding {
    guard bytes.bigEndian(UInt64.self, at: 0) == cookie else { return .noCookie }
    guard Checksum.matches(bytes, field: checksumField) else { return .wrongChecksum }
    return .valid(Footer(decoding: bytes))
  }

  private init(decoding bytes: UnsafeRawBufferPointer) {
    features = FooterFeatures(rawValue: bytes.bigEndian(at: 8))
    formatVersion = bytes.bigEndian(at: 12)
    dataOffset = bytes.bigEndian(at: Footer.dataOffsetField)
    timeStamp = bytes.bigEndian(at: 24)
    creatorApplication = FourCharacterCode(rawValue: bytes.bigEndian(at: 28))
    creatorVersion = bytes.bigEndian(at: 32)
    creatorHost = FourCharacterCode(rawValue: bytes.bigEndian(at: 36))
    originalSize = bytes.bigEndian(at: 40)
    currentSize = bytes.bigEndian(at: 48)
    geometry = DiskGeometry(
      cylinders: bytes.bigEndian(at: 56), heads: bytes[58], sectorsPerTrack: bytes[59])
    diskType = DiskType(rawValue: bytes.bigEndian(at: 60))
    uniqueID = GUID(bytes, at: 68)
    isInSavedState = bytes[84] != 0
  }

  init() {}

  /// Writes all 512 bytes, checksum included; what is reserved is zero.
  func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    bytes.storeBigEndian(Footer.cookie, at: 0)
    bytes.storeBigEndian(features.rawValue, at: 8)
    bytes.storeBigEndian(formatVersion, at: 12)
    bytes.storeBigEndian(dataOffset, at: Footer.dataOffsetField)
    bytes.storeBigEndian(timeStamp, at: 24)
    bytes.storeBigEndian(creatorApplication.rawValue, at: 28)
    bytes.storeBigEndian(creatorVersion, at: 32)
    bytes.storeBigEndian(creatorHost.rawValue, at: 36)
    bytes.storeBigEndian(originalSize, at: 40)
    bytes.storeBigEndian(currentSize, at: 48)
    bytes.storeBigEndian(geometry.cylinders, at: 56)
    bytes[58] = geometry.heads
    bytes[59] = geometry.sectorsPerTrack
    bytes.storeBigEndian(diskType.rawValue, at: 60)
    bytes.store(uniqueID, at: 68)
    bytes[84] = isInSavedState ? 1 : 0
    Checksum.store(in: bytes, field: Footer.checksumField)
  }

  /// Bytes of the disk, by what the creator's readers believe.
  ///
  /// `currentSize` is right for every known writer but an old QEMU ("qemu"), which shows what its geometry
  /// covers, unless that is the maximum. Virtual PC shows its guest the geometry's size as well, but
  /// records and allocates `currentSize`, which is never less: showing all of it hides nothing.
  var diskSize: UInt64 {
    guard creatorApplication == .qemuByGeometry, geometry != .maximum, geometry.size > 0 else {
      return currentSize
    }
    return geometry.size
  }
}
