import CISAL
import Storage

/// CRC-32C, by ISA-L's vector instructions.
enum Checksum {
  /// The checksum of `bytes` with the four bytes at `field` taken as zero.
  static func of(_ bytes: UnsafeRawBufferPointer, zeroingFieldAt field: Int) -> UInt32 {
    var value = advance(~0, bytes[..<field])
    value = withUnsafeBytes(of: UInt32(0)) { advance(value, $0[...]) }
    return ~advance(value, bytes[(field + 4)...])
  }

  static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 { ~advance(~0, bytes[...]) }

  private static func advance(_ value: UInt32, _ bytes: Slice<UnsafeRawBufferPointer>) -> UInt32 {
    let part = UnsafeRawBufferPointer(rebasing: bytes)
    guard let base = part.baseAddress, part.count > 0 else { return value }
    return crc32_iscsi(
      UnsafeMutablePointer(mutating: base.assumingMemoryBound(to: UInt8.self)), Int32(part.count), value)
  }
}
