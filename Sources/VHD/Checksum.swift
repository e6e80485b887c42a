import Storage

/// The checksum of footer and dynamic header (format paper, "Checksum"; both structures use the same).
enum Checksum {
  /// The ones' complement of the sum of all bytes, those of the checksum field itself (4 bytes at `field`)
  /// taken as 0.
  static func of(_ bytes: UnsafeRawBufferPointer, field: Int) -> UInt32 {
    var sum: UInt32 = 0
    for (index, byte) in bytes.enumerated() where index < field || index >= field + 4 {
      sum &+= UInt32(byte)
    }
    return ~sum
  }

  static func matches(_ bytes: UnsafeRawBufferPointer, field: Int) -> Bool {
    bytes.bigEndian(UInt32.self, at: field) == of(bytes, field: field)
  }

  static func store(in bytes: UnsafeMutableRawBufferPointer, field: Int) {
    bytes.storeBigEndian(of(UnsafeRawBufferPointer(bytes), field: field), at: field)
  }
}
