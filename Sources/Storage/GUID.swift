/// A GUID as the VHDX and VHD formats store it: 16 bytes, of which Windows prints the first three fields
/// little-endian and the rest as they lie ("mixed-endian").
public struct GUID: Hashable, Sendable, CustomStringConvertible {
  /// The bytes in file order.
  public let bytes: SIMD16<UInt8>

  public static let zero = GUID(bytes: SIMD16(repeating: 0))

  public var isZero: Bool { self == .zero }

  public init(bytes: SIMD16<UInt8>) { self.bytes = bytes }

  /// The 16 bytes at `offset`, which the caller knows to be inside.
  public init(_ buffer: UnsafeRawBufferPointer, at offset: Int) {
    bytes = buffer.loadUnaligned(fromByteOffset: offset, as: SIMD16<UInt8>.self)
  }

  /// A new random one (version 4, as Windows makes them).
  public static func random() -> GUID {
    var generator = SystemRandomNumberGenerator()
    var bytes = SIMD16<UInt8>(repeating: 0)
    for index in 0..<16 { bytes[index] = UInt8.random(in: 0...255, using: &generator) }
    bytes[7] = bytes[7] & 0x0F | 0x40  // version 4: the high nibble of the third field, little-endian
    bytes[8] = bytes[8] & 0x3F | 0x80  // variant 1
    return GUID(bytes: bytes)
  }

  /// From text with or without braces, in either case; nil for anything else.
  public init?(_ text: String) {
    var digits = Substring(text)
    if digits.hasPrefix("{") && digits.hasSuffix("}") { digits = digits.dropFirst().dropLast() }
    let groups = digits.split(separator: "-", omittingEmptySubsequences: false)
    guard groups.map(\.utf8.count) == [8, 4, 4, 4, 12] else { return nil }
    let hex = Array(groups.joined().utf8)
    var bytes = SIMD16<UInt8>(repeating: 0)
    for index in 0..<16 {
      guard let high = GUID.nibble(hex[index * 2]), let low = GUID.nibble(hex[index * 2 + 1]) else {
        return nil
      }
      bytes[GUID.printOrder[index]] = high << 4 | low
    }
    self.bytes = bytes
  }

  /// Lower case, without braces: `2dc27766-f623-4200-9d64-115e9bfd4a08`.
  public var description: String {
    var text = ""
    for (position, index) in GUID.printOrder.enumerated() {
      if [4, 6, 8, 10].contains(position) { text += "-" }
      let byte = bytes[index]
      text += String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
    }
    return text
  }

  /// Which stored byte is printed at each place.
  private static let printOrder = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]

  private static func nibble(_ character: UInt8) -> UInt8? {
    switch character {
    case 0x30...0x39: character - 0x30
    case 0x41...0x46: character - 0x41 + 10
    case 0x61...0x66: character - 0x61 + 10
    default: nil
    }
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Stores the 16 bytes of `guid` at `offset`, which the caller knows to be inside.
  public func store(_ guid: GUID, at offset: Int) {
    storeBytes(of: guid.bytes, toByteOffset: offset, as: SIMD16<UInt8>.self)
  }
}
