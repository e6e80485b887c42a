import CISAL
import Storage

/// CRC-32C, by ISA-L's vector instructions, as all checksums of the format are.
enum Checksum {
  /// The checksum of `bytes` with the four bytes at `field` taken as zero.
  static func of(_ bytes: UnsafeRawBufferPointer, zeroingFieldAt field: Int) -> UInt32 {
    var zero: UInt32 = 0
    var value = advance(~0, UnsafeRawBufferPointer(rebasing: bytes[..<field]))
    value = withUnsafeBytes(of: &zero) { advance(value, $0) }
    return ~advance(value, UnsafeRawBufferPointer(rebasing: bytes[(field + 4)...]))
  }

  /// Goes on with a running (uninverted) value; ISA-L takes lengths as C ints.
  static func advance(_ value: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
    var value = value
    var rest = bytes
    while !rest.isEmpty {
      let count = min(rest.count, 1 << 30)
      let start = UnsafeMutablePointer(mutating: rest.baseAddress!.assumingMemoryBound(to: UInt8.self))
      value = crc32_iscsi(start, Int32(count), value)
      rest = UnsafeRawBufferPointer(rebasing: rest[count...])
    }
    return value
  }
}
