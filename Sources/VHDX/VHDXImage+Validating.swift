import Glibc
import Storage

/// Looking at everything that the format says of itself, with the log replayed in memory.
extension VHDXImage {
  /// Examines headers, log, region tables, metadata and the whole block table; changes nothing. Waits long where the
  /// table is long. For an image that is not being written.
  ///
  /// Memory: one bit for each MiB of the file, and a few buffers. Errors: the system's; what is wrong with the file's
  /// contents is a finding. (What makes the file unreadable as a whole is refused when it is opened: both headers or
  /// both region tables damaged, a log that is named but holds no whole sequence, a file shorter than its log says.)
  public func validate() throws(ImageError) -> ImageFindings {
    var findings = ImageFindings()
    let overlay = tables.withLock { $0.overlay }
    try validateHeaders(&findings)
    if overlay != nil {
      findings.add(
        .unfinished, at: structures[1].lowerBound, "the log holds changes that are not in their places yet")
    }
    try validateRegionTables(overlay, &findings)
    try validateMetadata(overlay, &findings)
    try validateBlockTable(overlay, &findings)
    return findings
  }

  /// 2.2.2: either header may be half-written, as long as the other is whole. Which of them counts was decided when
  /// the file was opened.
  private func validateHeaders(_ findings: inout ImageFindings) throws(ImageError) {
    let buffer = ByteStore(Header.size)
    var found: [Header] = []
    for offset in VHDXFormat.headerOffsets {
      let count = try file.readUpTo(buffer.bytes, at: offset)
      guard count == Header.size, let header = Header(buffer.readable) else {
        findings.add(
          .unfinished, at: offset, "the header's signature or checksum is wrong; the other one is good")
        continue
      }
      found.append(header)
      if header.version != 1 {
        findings.add(.damage, at: offset, "the header is of version \(header.version); it must be 1")
      }
      if header.logLength == 0 || UInt64(header.logLength) % VHDXFormat.mebibyte != 0
        || header.logOffset < VHDXFormat.headerSectionSize || header.logOffset % VHDXFormat.mebibyte != 0
      {
        findings.add(
          .damage, at: offset,
          "the log is said to lie at \(header.logOffset) with \(header.logLength) bytes; both must be multiples of 1 MiB, "
            + "behind the headers")
      }
    }
    // A clean close writes both (2.2.2): what the older one says is what the newer one does.
    if found.count == 2 {
      found[0].sequenceNumber = found[1].sequenceNumber
      if found[0] != found[1] {
        findings.add(
          .unfinished, at: VHDXFormat.headerOffsets[0],
          "the two headers differ: writing began, or a log was named, and the file was not closed since")
      }
    }
    let size = tables.withLock { $0.wholeFileSize }
    if structures[1].upperBound > size {
      findings.add(.damage, at: structures[1].lowerBound, "the log reaches beyond the end of the file")
    }
  }

  /// 2.2.3: both copies whole and equal. One that is damaged can be read around, but no update of ours leaves it so:
  /// region tables change through the log.
  private func validateRegionTables(
    _ overlay: LogOverlay?, _ findings: inout ImageFindings
  ) throws(ImageError) {
    let first = ByteStore(VHDXFormat.regionTableSize)
    let second = ByteStore(VHDXFormat.regionTableSize)
    var intact = 0
    for (buffer, offset) in [
      (first, VHDXFormat.regionTableOffsets[0]), (second, VHDXFormat.regionTableOffsets[1]),
    ] {
      try readReplayed(overlay, buffer.bytes, at: offset)
      if RegionTable.isIntact(buffer.readable) {
        intact += 1
      } else {
        findings.add(.damage, at: offset, "this copy of the region table is damaged; the other one is good")
      }
    }
    if intact == 2, !first.isEqual(to: second) {
      findings.add(.damage, at: VHDXFormat.regionTableOffsets[1], "the two copies of the region table differ")
    }
  }

  /// 2.6: what stands in the metadata table was checked when the file was opened; here what a reader may ignore.
  private func validateMetadata(
    _ overlay: LogOverlay?, _ findings: inout ImageFindings
  ) throws(ImageError) {
    let table = ByteStore(MetadataTable.tableSize)
    try readReplayed(overlay, table.bytes, at: regions.metadata.offset)
    var users = 0
    for index in metadataItems.indices {
      let at = 32 + index * 32
      let flags: UInt32 = table.readable.littleEndian(at: at + 24)
      let reserved: UInt32 = table.readable.littleEndian(at: at + 28)
      if flags & ~7 != 0 || reserved != 0 {
        findings.add(
          .damage, at: regions.metadata.offset + UInt64(at), "a metadata item has reserved bits set")
      }
      users += flags & 1 == 1 ? 1 : 0
    }
    if users > 1024 {
      findings.add(.damage, at: regions.metadata.offset, "\(users) user metadata items; 1024 are the most")
    }
  }

  func readReplayed(
    _ overlay: LogOverlay?, _ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(ImageError) {
    if let overlay {
      try overlay.read(file, into: buffer, at: offset)
    } else {
      try file.read(into: buffer, at: offset)
    }
  }
}

/// Bytes of its own, freed with it.
final class ByteStore {
  let bytes: UnsafeMutableRawBufferPointer
  init(_ count: Int) {
    bytes = .allocate(byteCount: count, alignment: 4096)
    bytes.clear()
  }
  deinit { bytes.deallocate() }
  var readable: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }
  /// The other is as long.
  func isEqual(to other: ByteStore) -> Bool {
    guard let one = bytes.baseAddress, let two = other.bytes.baseAddress else { return true }
    return memcmp(one, two, bytes.count) == 0
  }
}
