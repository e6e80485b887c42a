import Storage

/// Finds the active sequence of a log (2.3.2): the entries that must be replayed.
///
/// Time and memory are bounded by the log's length whatever it holds: it is read once from end to end, and an entry is
/// examined further only up to the first sector that cannot belong to it, so that no byte is summed twice.
struct LogScanner {
  struct Entry {
    var header: LogEntryHeader
    /// Place in the log, bytes.
    var position: UInt64
  }

  let file: HostFile
  let logOffset: UInt64
  let logLength: UInt64
  let logGUID: GUID

  /// The active sequence, oldest first. Errors: damaged, when there is none or it has too many changes.
  func activeSequence() throws(ImageError) -> [Entry] {
    let candidates = try candidateEntries()
    var valid: [UInt64: Entry] = [:]
    for candidate in candidates where try isWhole(candidate) { valid[candidate.position] = candidate }

    // Who continues whom; an entry that continues another is not a sequence's first.
    var successors: [UInt64: UInt64] = [:]
    var continued: Set<UInt64> = []
    for entry in valid.values {
      let next = (entry.position + UInt64(entry.header.entryLength)) % logLength
      guard let follower = valid[next], entry.header.sequenceNumber < UInt64.max,
        follower.header.sequenceNumber == entry.header.sequenceNumber + 1
      else { continue }
      successors[entry.position] = next
      continued.insert(next)
    }
    var best: [Entry] = []
    // In the log's order, so that of two sequences with one number the same is taken each time.
    for first in candidates where valid[first.position] != nil && !continued.contains(first.position) {
      var sequence = [first]
      // Numbers rise at each step, so this cannot go round.
      while let next = successors[sequence[sequence.count - 1].position], let entry = valid[next] {
        sequence.append(entry)
      }
      let head = sequence[sequence.count - 1]
      guard let tail = sequence.firstIndex(where: { $0.position == UInt64(head.header.tail) }) else {
        continue
      }
      if best.isEmpty || head.header.sequenceNumber > best[best.count - 1].header.sequenceNumber {
        best = Array(sequence[tail...])
      }
    }
    guard !best.isEmpty else {
      throw .damaged(
        file.path, at: logOffset,
        "the log is said to hold changes that are not in their places yet, but no whole sequence of entries is in it; "
          + "use a backup, or let a repair tool drop the log if losing the last changes is acceptable")
    }
    let descriptors = best.reduce(0) { $0 + Int($1.header.descriptorCount) }
    guard descriptors <= VHDXFormat.maximumLogDescriptors else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): the log holds \(descriptors) changes; 1,000,000 are the most that are replayed"
      )
    }
    return best
  }

  /// All sectors that begin like an entry of this log.
  private func candidateEntries() throws(ImageError) -> [Entry] {
    let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { chunk.deallocate() }
    var found: [Entry] = []
    var position: UInt64 = 0
    while position < logLength {
      let count = Int(min(UInt64(chunk.count), logLength - position))
      let part = UnsafeMutableRawBufferPointer(rebasing: chunk[..<count])
      try readLog(into: part, at: position)
      for at in stride(from: 0, to: count, by: 4096) {
        let sector = UnsafeRawBufferPointer(rebasing: part[at..<(at + LogEntryHeader.size)])
        if let header = LogEntryHeader(sector, logLength: logLength, logGUID: logGUID) {
          found.append(Entry(header: header, position: position + UInt64(at)))
        }
      }
      position += UInt64(count)
    }
    return found
  }

  /// Whether signatures, numbers and checksum of a whole entry are right.
  private func isWhole(_ entry: Entry) throws(ImageError) -> Bool {
    let sector = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { sector.deallocate() }
    let bytes = UnsafeRawBufferPointer(sector)
    let descriptorSectors = Int(entry.header.descriptorSectors)
    let sectors = Int(entry.header.entryLength) / 4096
    var dataSectors = 0
    var sum = ~UInt32(0)
    for index in 0..<sectors {
      try readLog(into: sector, at: (entry.position + UInt64(index) * 4096) % logLength)
      if index < descriptorSectors {
        let first =
          index == 0
          ? 0 : LogEntryHeader.descriptorsInFirstSector + (index - 1) * LogEntryHeader.descriptorsPerSector
        let count = index == 0 ? LogEntryHeader.descriptorsInFirstSector : LogEntryHeader.descriptorsPerSector
        for number in first..<min(first + count, Int(entry.header.descriptorCount)) {
          let at = LogEntryHeader.descriptorOffset(number) - index * 4096
          guard let descriptor = LogDescriptor(bytes, at: at),
            descriptor.sequenceNumber == entry.header.sequenceNumber
          else { return false }
          if case .data = descriptor.kind { dataSectors += 1 }
        }
      } else {
        // Only as many data sectors as data descriptors: an entry has no other contents.
        guard index - descriptorSectors < dataSectors,
          bytes.littleEndian(UInt32.self, at: 0) == VHDXFormat.Signature.dataSector,
          UInt64(bytes.littleEndian(UInt32.self, at: 4)) << 32
            | UInt64(bytes.littleEndian(UInt32.self, at: 4092))
            == entry.header.sequenceNumber
        else { return false }
      }
      if index == 0 { sector.storeLittleEndian(UInt32(0), at: 4) }
      sum = Checksum.advance(sum, bytes)
    }
    return sectors == descriptorSectors + dataSectors && ~sum == entry.header.checksum
  }

  /// Reads from the log, which may be longer than the file: what is not there is zero.
  func readLog(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64) throws(ImageError) {
    let count = try file.readUpTo(buffer, at: logOffset + position)
    UnsafeMutableRawBufferPointer(rebasing: buffer[count...]).clear()
  }
}
