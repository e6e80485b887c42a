import Storage

/// How the file stores its disk (footer, "Disk Type").
public struct DiskType: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The disk's bytes as they are, then the footer.
  public static let fixed = DiskType(rawValue: 2)
  /// Blocks in the order of their first write; what has no block reads as zero.
  public static let dynamic = DiskType(rawValue: 3)
  /// As dynamic; what was not written reads as the parent does.
  public static let differencing = DiskType(rawValue: 4)

  /// Whether there is a dynamic header and a block table, and a copy of the footer at the beginning of the
  /// file.
  var hasBlocks: Bool { self == .dynamic || self == .differencing }
}

/// Flags of the footer ("Features").
public struct FooterFeatures: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The disk may be deleted when its machine is shut down; informative only.
  public static let temporary = FooterFeatures(rawValue: 1)
  /// Always set.
  public static let reserved = FooterFeatures(rawValue: 2)
}

/// Four ASCII characters that name the program or the system that made the file (footer, "Creator
/// Application" and "Creator Host OS").
public struct FourCharacterCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// From exactly four ASCII characters.
  init(_ text: StaticString) {
    precondition(text.utf8CodeUnitCount == 4)
    rawValue = text.withUTF8Buffer { $0.reduce(0) { $0 << 8 | UInt32($1) } }
  }

  public static let virtualPC = FourCharacterCode("vpc ")
  public static let windows = FourCharacterCode("win ")
  /// QEMU where the disk's size is what its geometry says.
  public static let qemuByGeometry = FourCharacterCode("qemu")
  public static let tapdisk = FourCharacterCode("tap\0")
  /// Creator host: Windows.
  public static let windowsHost = FourCharacterCode("Wi2k")

  /// The characters; trailing zeros and blanks left out, other bytes as they are.
  public var description: String {
    var bytes = (0..<4).map { UInt8(truncatingIfNeeded: rawValue >> (24 - 8 * $0)) }
    while let last = bytes.last, last == 0 || last == 0x20 { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }
}
