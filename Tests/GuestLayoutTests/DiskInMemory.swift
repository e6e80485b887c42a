import TestSupport

@testable import GuestLayout

/// A disk of zeros in which some stretches hold bytes: what tables are read from in these tests.
struct DiskInMemory: Sendable {
  var size: UInt64
  var sectorSize: UInt32 = 512
  var stretches: [UInt64: [UInt8]] = [:]

  struct Outside: Error, Equatable {}

  func read(at offset: UInt64, count: Int) throws(Outside) -> [UInt8] {
    guard count >= 0, offset <= size, UInt64(count) <= size - offset else { throw Outside() }
    var bytes = [UInt8](repeating: 0, count: count)
    let end = offset + UInt64(count)
    for (start, stretch) in stretches {
      let from = max(start, offset)
      let to = min(start + UInt64(stretch.count), end)
      guard from < to else { continue }
      bytes.replaceSubrange(
        Int(from - offset)..<Int(to - offset), with: stretch[Int(from - start)..<Int(to - start)])
    }
    return bytes
  }

  /// The table; that it asks for nothing outside the disk is checked by the error.
  func table() throws -> PartitionTable {
    try PartitionTable.read(diskSize: size, sectorSize: sectorSize) { (offset, count) throws(Outside) in
      try read(at: offset, count: count)
    }
  }

  /// A boot record at a sector, with entries of (type, first, count).
  mutating func putRecord(at sector: UInt64, _ entries: [(UInt8, UInt32, UInt32)], bootIndicator: UInt8 = 0) {
    var bytes = [UInt8](repeating: 0, count: 512)
    for (index, (type, first, count)) in entries.enumerated() {
      let offset = 446 + index * 16
      bytes[offset] = bootIndicator
      bytes[offset + 4] = type
      for byte in 0..<4 {
        bytes[offset + 8 + byte] = UInt8(truncatingIfNeeded: first >> (8 * UInt32(byte)))
        bytes[offset + 12 + byte] = UInt8(truncatingIfNeeded: count >> (8 * UInt32(byte)))
      }
    }
    bytes[510] = 0x55
    bytes[511] = 0xAA
    stretches[sector * UInt64(sectorSize)] = bytes
  }
}

/// The table of a file, in sectors of this size.
func readTable(_ path: String, sectorSize: Int) throws -> PartitionTable {
  let file = try OpenFile(path)
  return try PartitionTable.read(diskSize: file.size, sectorSize: UInt32(sectorSize)) { offset, count in
    try file.read(at: offset, count: count)
  }
}
