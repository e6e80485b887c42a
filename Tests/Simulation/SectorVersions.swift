import Glibc

/// What each sector of a window held, one version after the other, and which step made it so.
package struct SectorVersions: Sendable {
  package static let sector = 512

  struct Version: Sendable {
    var operation: Int
    /// Where its bytes are in `pool`.
    var start: Int
  }

  package private(set) var now: [UInt8]
  /// Oldest first, the contents before the first change included; sectors that never changed have none.
  private(set) var versions: [Int: [Version]] = [:]
  private(set) var pool: [UInt8] = []

  package init(_ contents: [UInt8]) { now = contents }

  /// Notes that `operation` put `bytes` at `place` of the window.
  package mutating func write(_ bytes: [UInt8], at place: Int, operation: Int) {
    let sectors = place / SectorVersions.sector...(place + bytes.count - 1) / SectorVersions.sector
    for sector in sectors where versions[sector] == nil {
      versions[sector] = [Version(operation: .min, start: keep(sector))]
    }
    now.replaceSubrange(place..<(place + bytes.count), with: bytes)
    for sector in sectors {
      versions[sector, default: []].append(Version(operation: operation, start: keep(sector)))
    }
  }

  private mutating func keep(_ sector: Int) -> Int {
    let start = sector * SectorVersions.sector
    pool += now[start..<min(start + SectorVersions.sector, now.count)]
    return pool.count - (min(start + SectorVersions.sector, now.count) - start)
  }
}

/// What a window may read as when the steps up to `durable` are known to be on the medium, and later ones up to
/// some moment may be.
package struct Expectation: Sendable {
  /// Every sector as `durable` left it.
  private(set) var reference: [UInt8]
  private(set) var durable = Int.min
  /// Sectors that were changed later, ascending.
  private var loose: [Int] = []
  /// Where the sectors of the window are that must be as in `reference`.
  private var fixed: [Range<Int>] = []

  /// What `contents` is, before any step.
  package init(_ contents: [UInt8]) { reference = contents }

  /// Moves on: the steps up to `durable` are on the medium, those up to `last` may be.
  package mutating func advance(durable: Int, last: Int, _ model: SectorVersions) {
    loose = []
    for (sector, versions) in model.versions {
      let start = sector * SectorVersions.sector
      if let kept = versions.last(where: { $0.operation <= durable }), kept.operation > self.durable {
        let end = min(start + SectorVersions.sector, reference.count)
        reference.replaceSubrange(start..<end, with: model.pool[kept.start..<(kept.start + end - start)])
      }
      if versions.contains(where: { $0.operation > durable && $0.operation <= last }) { loose.append(sector) }
    }
    self.durable = durable
    loose.sort()
    fixed = []
    var next = 0
    for sector in loose {
      let start = sector * SectorVersions.sector
      if next < start { fixed.append(next..<start) }
      next = min(start + SectorVersions.sector, reference.count)
    }
    if next < reference.count { fixed.append(next..<reference.count) }
  }

  /// The first place of the window where `found` is none of what may be there at a moment when `latest` was the last
  /// step that had begun; nil if there is none.
  package func firstForeign(_ found: [UInt8], latest: Int, _ model: SectorVersions) -> Int? {
    found.withUnsafeBytes { found in
      reference.withUnsafeBytes { reference in
        model.pool.withUnsafeBytes { pool in
          guard let found = found.baseAddress, let reference = reference.baseAddress else { return nil }
          for range in fixed
          where memcmp(found + range.lowerBound, reference + range.lowerBound, range.count) != 0 {
            let sector = stride(from: range.lowerBound, to: range.upperBound, by: SectorVersions.sector)
            return sector.first { start in
              let count = min(SectorVersions.sector, range.upperBound - start)
              return memcmp(found + start, reference + start, count) != 0
            }
          }
          for sector in loose {
            let start = sector * SectorVersions.sector
            let count = min(SectorVersions.sector, self.reference.count - start)
            // Zero is allowed only where the sector was zero in one of its versions.
            if memcmp(found + start, reference + start, count) == 0 { continue }
            let isKnown = model.versions[sector, default: []].contains { version in
              version.operation > durable && version.operation <= latest
                && memcmp(found + start, pool.baseAddress! + version.start, count) == 0
            }
            if !isKnown { return start }
          }
          return nil
        }
      }
    }
  }
}
