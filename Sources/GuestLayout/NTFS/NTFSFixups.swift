import Storage

/// Multi-sector records: the last two bytes of each 512 were exchanged for a sequence number when the record was written,
/// so that a torn write shows.
enum NTFSFixups {
  /// Whether the mark stands at the start and each sector ends in the number; then the bytes are put back.
  static func apply(to record: inout [UInt8], mark: StaticString) -> Bool {
    record.withUnsafeMutableBytes { apply(to: $0, mark: mark) }
  }

  static func apply(to record: UnsafeMutableRawBufferPointer, mark: StaticString) -> Bool {
    let bytes = UnsafeRawBufferPointer(record)
    guard record.count >= 512, record.count % 512 == 0,
      mark.withUTF8Buffer({ bytes.prefix($0.count).elementsEqual($0) })
    else { return false }
    let offset = Int(bytes.littleEndian(UInt16.self, at: 4))
    let count = Int(bytes.littleEndian(UInt16.self, at: 6))
    guard count == record.count / 512 + 1, offset % 2 == 0, offset >= 8, offset + count * 2 <= 510 else {
      return false
    }
    let number = bytes.littleEndian(UInt16.self, at: offset)
    for sector in 1..<count {
      let end = sector * 512 - 2
      guard bytes.littleEndian(UInt16.self, at: end) == number else { return false }
      record[end] = record[offset + sector * 2]
      record[end + 1] = record[offset + sector * 2 + 1]
    }
    return true
  }
}
