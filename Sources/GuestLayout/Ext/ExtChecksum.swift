import CISAL

/// The checksums of ext4, both without a final inversion.
enum ExtChecksum {
  /// CRC-32C, going on from `value`.
  static func crc32c(_ value: UInt32, _ bytes: ArraySlice<UInt8>) -> UInt32 {
    bytes.withUnsafeBufferPointer { bytes in
      guard let start = bytes.baseAddress else { return value }
      return crc32_iscsi(UnsafeMutablePointer(mutating: start), Int32(bytes.count), value)
    }
  }

  static func crc32c(_ value: UInt32, _ number: UInt32) -> UInt32 {
    crc32c(value, withUnsafeBytes(of: number.littleEndian) { Array($0)[...] })
  }

  /// CRC-16 with the reflected polynomial A001 (lib/crc16.c), going on from `value`; for a few bytes only.
  static func crc16(_ value: UInt16, _ bytes: some Sequence<UInt8>) -> UInt16 {
    var value = value
    for byte in bytes {
      value ^= UInt16(byte)
      for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xA001 : value >> 1 }
    }
    return value
  }
}
