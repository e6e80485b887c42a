import Storage

/// The first sector of a disk as an MBR: four entries of 16 bytes at 446, the signature 55 AA at 510.
struct MasterBootRecord: Sendable {
  /// One entry. Sectors are the disk's logical ones.
  struct Entry: Sendable {
    var bootIndicator: UInt8
    var type: UInt8
    var first: UInt64
    var count: UInt64

    /// Used, and a link or container of an extended partition (DOS, Windows 95 and Linux types).
    var isExtended: Bool { count > 0 && [0x05, 0x0F, 0x85].contains(type) }
  }

  static let protectiveType: UInt8 = 0xEE

  let entries: [Entry]
  let looksLikeFileSystem: Bool

  /// nil without the signature.
  init?(_ sector: [UInt8]) {
    guard sector.count >= 512, sector[510] == 0x55, sector[511] == 0xAA else { return nil }
    entries = sector.withUnsafeBytes { bytes in
      (0..<4).map { index in
        let offset = 446 + index * 16
        return Entry(
          bootIndicator: bytes[offset], type: bytes[offset + 4],
          first: UInt64(bytes.littleEndian(UInt32.self, at: offset + 8)),
          count: UInt64(bytes.littleEndian(UInt32.self, at: offset + 12)))
      }
    }
    looksLikeFileSystem = sector.withUnsafeBytes(isFileSystemBootSector)
  }

  /// A GPT lies behind it: an entry of type EE that begins at sector 1 (UEFI 2.10, 5.2.3). Others beside it make a
  /// hybrid, of which the GPT counts.
  var isProtective: Bool {
    entries.contains { $0.type == MasterBootRecord.protectiveType && $0.first == 1 }
  }

  /// Boot loaders' code in this place seldom passes for four of these.
  var hasValidBootIndicators: Bool {
    entries.allSatisfy { $0.bootIndicator == 0 || $0.bootIndicator == 0x80 }
  }

  /// The partitions that the entries and the chains behind them describe.
  static func partitions<E: Error>(
    of record: MasterBootRecord, _ geometry: Geometry, _ read: (UInt64, Int) throws(E) -> [UInt8]
  ) throws(E) -> PartitionTable {
    var table = PartitionTable(.mbr)
    var chains = ExtendedPartitions(geometry: geometry)
    var isAnyUsed = false
    for (index, entry) in record.entries.enumerated() where entry.count > 0 {
      isAnyUsed = true
      let count = entry.isExtended ? min(entry.count, max(1024 / geometry.sectorSize, 1)) : entry.count
      guard let window = geometry.window(first: entry.first, count: count) else {
        table.warnings.append("partition \(index + 1) begins beyond the end of the disk")
        continue
      }
      table.partitions.append(
        Partition(
          number: index + 1, firstByte: window.firstByte, length: window.length, type: .mbr(entry.type),
          isContainer: entry.isExtended))
      if entry.isExtended { try chains.follow(entry, read) }
    }
    // Four entries that all lie outside are a boot sector's code rather than a table.
    guard !table.partitions.isEmpty || !isAnyUsed else { return PartitionTable(.none) }
    table.partitions += chains.partitions
    table.warnings += chains.warnings
    return table
  }
}

/// A file system that fills the whole disk: its boot sector ends in 55 AA too, and need not hold code where an MBR
/// has its entries.
private func isFileSystemBootSector(_ sector: UnsafeRawBufferPointer) -> Bool {
  let maker = sector[3..<11]
  if ["NTFS    ", "EXFAT   ", "-FVE-FS-"].contains(where: { maker.elementsEqual($0.utf8) }) { return true }
  // FAT: the jump, and a parameter block that makes sense, as mkfs writes and a boot manager's MBR does not.
  let bytesPerSector = sector.littleEndian(UInt16.self, at: 11)
  let sectorsPerCluster = sector[13]
  let reserved = sector.littleEndian(UInt16.self, at: 14)
  let tables = sector[16]
  let media = sector[21]
  return (sector[0] == 0xEB || sector[0] == 0xE9)
    && [512, 1024, 2048, 4096].contains(bytesPerSector)
    && sectorsPerCluster.nonzeroBitCount == 1
    && reserved > 0 && (1...2).contains(tables)
    && (media == 0xF0 || media >= 0xF8)
}
