import Storage

/// Puts log entries together (2.3.1).
enum LogWriter {
  /// The bytes of an entry that holds `pages`, each whole, as data descriptors.
  static func entry(
    _ pages: [LoggedPage], position: UInt64, sequenceNumber: UInt64, logGUID: GUID, flushedFileOffset: UInt64,
    lastFileOffset: UInt64
  ) -> UnsafeMutableRawBufferPointer {
    let length = 4096 * (descriptorSectors(pages.count) + pages.count)
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 4096)
    bytes.clear()
    LogEntryHeader(
      entryLength: UInt32(length), tail: UInt32(position), sequenceNumber: sequenceNumber,
      descriptorCount: UInt32(pages.count), logGUID: logGUID, flushedFileOffset: flushedFileOffset,
      lastFileOffset: lastFileOffset
    ).encode(into: bytes)
    for (index, page) in pages.enumerated() {
      let at = LogEntryHeader.descriptorOffset(index)
      let sector = 4096 * (descriptorSectors(pages.count) + index)
      page.contents.withUnsafeBytes { contents in
        bytes.storeLittleEndian(VHDXFormat.Signature.dataDescriptor, at: at)
        bytes.storeLittleEndian(contents.littleEndian(UInt32.self, at: 4092), at: at + 4)
        bytes.storeLittleEndian(contents.littleEndian(UInt64.self, at: 0), at: at + 8)
        bytes.storeLittleEndian(page.fileOffset, at: at + 16)
        bytes.storeLittleEndian(sequenceNumber, at: at + 24)
        // Signature and sequence number take the place of the first 8 and last 4 bytes: a torn sector shows.
        UnsafeMutableRawBufferPointer(rebasing: bytes[sector..<(sector + 4096)]).copyMemory(from: contents)
        bytes.storeLittleEndian(VHDXFormat.Signature.dataSector, at: sector)
        bytes.storeLittleEndian(UInt32(sequenceNumber >> 32), at: sector + 4)
        bytes.storeLittleEndian(UInt32(truncatingIfNeeded: sequenceNumber), at: sector + 4092)
      }
    }
    bytes.storeLittleEndian(Checksum.of(UnsafeRawBufferPointer(bytes), zeroingFieldAt: 4), at: 4)
    return bytes
  }

  static func descriptorSectors(_ count: Int) -> Int {
    guard count > LogEntryHeader.descriptorsInFirstSector else { return 1 }
    let more = count - LogEntryHeader.descriptorsInFirstSector
    return 1 + (more + LogEntryHeader.descriptorsPerSector - 1) / LogEntryHeader.descriptorsPerSector
  }

  /// How many pages one entry of ours may hold in a log of `logLength` bytes: two entries must fit side by side, so
  /// that the old one is whole while the new one is written; and no more than one sector of descriptors, because
  /// QEMU's replay knows no more.
  static func pagesPerEntry(logLength: UInt64) -> Int {
    let half = Int(min(logLength, 16 << 20) / 2 / 4096)
    // None where there is no log: such a file is not written, but it may be asked to make durable what it has.
    return max(0, min(LogEntryHeader.descriptorsInFirstSector, half - 1))
  }
}
