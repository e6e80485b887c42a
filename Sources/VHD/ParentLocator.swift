import Storage

/// One place where a child records its parent's path (format paper, "Parent Locator Entries"): 24 bytes,
/// big-endian, which point to the path's bytes elsewhere in the file.
struct ParentLocator: Hashable, Sendable {
  static let length = 24

  /// How a path is written ("Platform Code").
  struct Platform: RawRepresentable, Hashable, Sendable {
    let rawValue: UInt32
    init(rawValue: UInt32) { self.rawValue = rawValue }

    /// An empty place.
    static let none = Platform(rawValue: 0)
    /// Relative to the child's directory, UTF-16 little-endian.
    static let w2ru = Platform(rawValue: 0x5732_7275)
    /// Absolute, UTF-16 little-endian.
    static let w2ku = Platform(rawValue: 0x5732_6B75)
    /// A file URL, UTF-8.
    static let macX = Platform(rawValue: 0x4D61_6358)

    /// Whether the path can be understood here. The deprecated 8-bit forms and Mac aliases cannot.
    var isKnown: Bool { self == .w2ru || self == .w2ku || self == .macX }
  }

  /// Offset 0, "Platform Code".
  var platform: Platform
  /// Offset 4, "Platform Data Space": room for the path, in sectors by the paper, in bytes by Windows.
  var dataSpace: UInt32
  /// Offset 8, "Platform Data Length": bytes of the path, without a terminator.
  var dataLength: UInt32
  /// Offset 16, "Platform Data Offset": where the path lies in the file.
  var dataOffset: UInt64

  init(platform: Platform, dataSpace: UInt32, dataLength: UInt32, dataOffset: UInt64) {
    self.platform = platform
    self.dataSpace = dataSpace
    self.dataLength = dataLength
    self.dataOffset = dataOffset
  }

  init(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    platform = Platform(rawValue: bytes.bigEndian(at: offset))
    dataSpace = bytes.bigEndian(at: offset + 4)
    dataLength = bytes.bigEndian(at: offset + 8)
    dataOffset = bytes.bigEndian(at: offset + 16)
  }

  func encode(into bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
    bytes.storeBigEndian(platform.rawValue, at: offset)
    bytes.storeBigEndian(dataSpace, at: offset + 4)
    bytes.storeBigEndian(dataLength, at: offset + 8)
    bytes.storeBigEndian(dataOffset, at: offset + 16)
  }

  /// Bytes of room: fewer than 512 can only be a number of sectors, as no room is smaller than one.
  var spaceInBytes: UInt64 {
    max(UInt64(dataLength), dataSpace < 512 ? UInt64(dataSpace) * 512 : UInt64(dataSpace))
  }
}
