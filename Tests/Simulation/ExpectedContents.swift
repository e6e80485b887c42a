import Glibc

/// What a disk must read as: byte for byte as long as its program lives, and after a power cut for each sector one of
/// the contents that it has had since the last flush, or zero where it was written since then.
package struct ExpectedContents: Sendable {
  /// Host disks write whole sectors of so many bytes, or nothing.
  package static let sector = 512

  package private(set) var now: [UInt8]
  /// At the last flush.
  private var settled: [UInt8]
  /// Since then, oldest first.
  private var journal: [Change] = []

  private struct Change: Sendable {
    var range: Range<Int>
    /// Nil: zeros.
    var bytes: [UInt8]?
  }

  package init(_ contents: [UInt8]) {
    now = contents
    settled = contents
  }

  package var size: Int { now.count }

  package mutating func write(_ bytes: [UInt8], at offset: Int) {
    guard !bytes.isEmpty else { return }
    now.withUnsafeMutableBytes { if let base = $0.baseAddress { memcpy(base + offset, bytes, bytes.count) } }
    journal.append(Change(range: offset..<(offset + bytes.count), bytes: bytes))
  }

  package mutating func zero(at offset: Int, length: Int) {
    guard length > 0 else { return }
    now.withUnsafeMutableBytes { if let base = $0.baseAddress { memset(base + offset, 0, length) } }
    journal.append(Change(range: offset..<(offset + length), bytes: nil))
  }

  /// All that was written is durable.
  package mutating func settle() {
    guard !journal.isEmpty else { return }
    settled = now
    journal = []
  }

  /// What was found, and is allowed, is durable and the truth from now on: after a power cut.
  package mutating func adopt(_ found: [UInt8]) {
    now = found
    settled = found
    journal = []
  }

  /// What was found, and is allowed, is the truth; but a power cut may still bring another of the contents back: after
  /// a kill, or an error.
  package mutating func accept(_ found: [UInt8]) {
    var sector = 0
    while sector < size {
      let end = min(sector + (1 << 16), size)
      guard !isSame(found, sector..<end) else {
        sector = end
        continue
      }
      for start in stride(from: sector, to: end, by: ExpectedContents.sector) {
        let range = start..<min(start + ExpectedContents.sector, size)
        if !isSame(found, range) { write(Array(found[range]), at: start) }
      }
      sector = end
    }
  }

  /// The first byte of `found`, which was read at `offset`, that is not as it must be.
  package func firstDifference(_ found: [UInt8], at offset: Int = 0) -> Int? {
    let isSame = found.withUnsafeBytes { one in
      now.withUnsafeBytes { two in
        guard let left = one.baseAddress, let right = two.baseAddress else { return true }
        return memcmp(left, right + offset, one.count) == 0
      }
    }
    if isSame { return nil }
    return found.indices.first { found[$0] != now[offset + $0] }.map { offset + $0 }
  }

  /// The start of the first sector that reads as none of what it may read as after a power cut.
  package func firstForeignSector(_ found: [UInt8]) -> Int? {
    for start in stride(from: 0, to: size, by: 1 << 16) {
      let stretch = start..<min(start + (1 << 16), size)
      if isSame(found, stretch) { continue }
      for sector in stride(from: start, to: stretch.upperBound, by: ExpectedContents.sector) {
        let range = sector..<min(sector + ExpectedContents.sector, size)
        if !isSame(found, range), !isAllowed(found, range) { return sector }
      }
    }
    return nil
  }

  private func isSame(_ found: [UInt8], _ range: Range<Int>) -> Bool {
    found.withUnsafeBytes { one in
      now.withUnsafeBytes { two in
        guard let left = one.baseAddress, let right = two.baseAddress else { return true }
        return memcmp(left + range.lowerBound, right + range.lowerBound, range.count) == 0
      }
    }
  }

  /// A sector reads as one of its versions since the flush, or as zero if it was written since; and writes of parts of
  /// it may each be there or not.
  private func isAllowed(_ found: [UInt8], _ sector: Range<Int>) -> Bool {
    let bytes = Array(found[sector])
    let changes = journal.filter { $0.range.overlaps(sector) }
    var version = Array(settled[sector])
    guard !changes.isEmpty else { return bytes == version }
    var versions = [version, [UInt8](repeating: 0, count: sector.count)]
    var parts: [(Range<Int>, ArraySlice<UInt8>)] = []
    for change in changes {
      let common = change.range.clamped(to: sector)
      let place = (common.lowerBound - sector.lowerBound)..<(common.upperBound - sector.lowerBound)
      let from = common.lowerBound - change.range.lowerBound
      let new =
        change.bytes.map { $0[from..<(from + common.count)] } ?? ArraySlice(repeating: 0, count: common.count)
      version.replaceSubrange(place, with: new)
      versions.append(version)
      if common != sector { parts.append((place, new)) }
    }
    return versions.contains { version in
      version == bytes
        || !parts.isEmpty
          && bytes.indices.allSatisfy { index in
            bytes[index] == version[index]
              || parts.contains { part, new in
                part.contains(index) && new[new.startIndex + index - part.lowerBound] == bytes[index]
              }
          }
    }
  }
}
