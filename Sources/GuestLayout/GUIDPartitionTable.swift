import CISAL
import Storage

/// A GPT (UEFI 2.10, 5.3): a header at sector 1, a copy at the last sector, each with a place of its entries, both
/// under CRC-32.
///
/// The copy is asked only where the first is damaged. A header is believed only if its CRC and its entries' CRC are
/// right; entries are 128 bytes times a power of two, at most 4096, and at most 1024 of them (Linux and Windows make
/// 128), so that at most 4 MiB are read.
enum GUIDPartitionTable {
  static let largestEntryCount: UInt32 = 1024
  static let largestEntrySize: UInt32 = 4096

  static func read<E: Error>(
    _ geometry: Geometry, _ read: (UInt64, Int) throws(E) -> [UInt8]
  ) throws(E) -> PartitionTable {
    guard geometry.sectorCount > 2 else {
      return PartitionTable(.gpt, warnings: ["the disk is too small for a GPT"])
    }
    if let table = try table(at: 1, geometry, read) { return table }
    let last = geometry.sectorCount - 1
    guard var table = try table(at: last, geometry, read) else {
      return PartitionTable(
        .gpt, warnings: ["neither the GPT at sector 1 nor its copy at sector \(last) is valid"])
    }
    table.warnings.insert("the GPT at sector 1 is damaged; its copy at the end of the disk is used", at: 0)
    return table
  }

  /// The table whose header lies at a sector; nil where it is not valid.
  private static func table<E: Error>(
    at sector: UInt64, _ geometry: Geometry, _ read: (UInt64, Int) throws(E) -> [UInt8]
  ) throws(E) -> PartitionTable? {
    let bytes = try read(sector * geometry.sectorSize, Int(geometry.sectorSize))
    guard let header = Header(bytes, at: sector, geometry) else { return nil }
    let entries = try read(header.entriesOffset, header.entriesLength)
    guard entries.count == header.entriesLength, crc32(entries) == header.entriesChecksum else { return nil }
    return partitions(in: entries, header, geometry)
  }

  private static func partitions(in bytes: [UInt8], _ header: Header, _ geometry: Geometry) -> PartitionTable
  {
    var table = PartitionTable(.gpt)
    bytes.withUnsafeBytes { bytes in
      for index in 0..<Int(header.entryCount) {
        let offset = index * Int(header.entrySize)
        let type = GUID(bytes, at: offset)
        guard !type.isZero else { continue }
        let first = bytes.littleEndian(UInt64.self, at: offset + 32)
        let last = bytes.littleEndian(UInt64.self, at: offset + 40)
        let number = index + 1
        guard last >= first, last - first < .max,
          let window = geometry.window(first: first, count: last - first + 1)
        else {
          table.warnings.append(
            "partition \(number) ends before it begins or lies beyond the end of the disk")
          continue
        }
        if last >= geometry.sectorCount {
          table.warnings.append("partition \(number) reaches beyond the end of the disk and is cut there")
        }
        table.partitions.append(
          Partition(
            number: number, firstByte: window.firstByte, length: window.length, type: .gpt(type),
            name: name(bytes, at: offset + 56), identifier: GUID(bytes, at: offset + 16)))
      }
    }
    return table
  }

  /// 36 UTF-16 units, little-endian, up to the first zero.
  private static func name(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> String {
    let units = (0..<36).map { bytes.littleEndian(UInt16.self, at: offset + $0 * 2) }
    return String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
  }
}

extension GUIDPartitionTable {
  /// A header whose own CRC and numbers are right.
  struct Header {
    let entryCount: UInt32
    let entrySize: UInt32
    let entriesChecksum: UInt32
    /// Bytes; [entriesOffset, entriesOffset + entriesLength) lies inside the disk.
    let entriesOffset: UInt64
    let entriesLength: Int

    init?(_ sector: [UInt8], at place: UInt64, _ geometry: Geometry) {
      guard sector.count == Int(geometry.sectorSize), sector.starts(with: "EFI PART".utf8) else { return nil }
      let fields = sector.withUnsafeBytes { bytes in
        (
          size: bytes.littleEndian(UInt32.self, at: 12), checksum: bytes.littleEndian(UInt32.self, at: 16),
          place: bytes.littleEndian(UInt64.self, at: 24), first: bytes.littleEndian(UInt64.self, at: 40),
          last: bytes.littleEndian(UInt64.self, at: 48), entries: bytes.littleEndian(UInt64.self, at: 72),
          count: bytes.littleEndian(UInt32.self, at: 80), entrySize: bytes.littleEndian(UInt32.self, at: 84),
          entriesChecksum: bytes.littleEndian(UInt32.self, at: 88)
        )
      }
      guard fields.size >= 92, UInt64(fields.size) <= geometry.sectorSize, fields.place == place else {
        return nil
      }
      var covered = Array(sector.prefix(Int(fields.size)))
      covered.replaceSubrange(16..<20, with: [0, 0, 0, 0])
      guard crc32(covered) == fields.checksum else { return nil }
      // A disk that was cut keeps a header whose last usable sector is gone: its partitions are still worth showing.
      guard fields.first <= fields.last, fields.first < geometry.sectorCount else { return nil }
      guard (1...largestEntryCount).contains(fields.count),
        (128...largestEntrySize).contains(fields.entrySize),
        fields.entrySize.nonzeroBitCount == 1
      else { return nil }
      let length = UInt64(fields.count) * UInt64(fields.entrySize)
      guard fields.entries < geometry.sectorCount,
        length <= geometry.diskSize - fields.entries * geometry.sectorSize
      else { return nil }
      entryCount = fields.count
      entrySize = fields.entrySize
      entriesChecksum = fields.entriesChecksum
      entriesOffset = fields.entries * geometry.sectorSize
      entriesLength = Int(length)
    }
  }

  /// The CRC-32 of ISO 3309, as UEFI uses it.
  static func crc32(_ bytes: [UInt8]) -> UInt32 {
    bytes.withUnsafeBufferPointer { crc32_gzip_refl(0, $0.baseAddress, UInt64($0.count)) }
  }
}
