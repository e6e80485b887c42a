import Storage

/// A Linux swap area (mkswap(8), the kernel's include/linux/swap.h): a page with a header, its mark in the last ten bytes of
/// that page, and pages that mean nothing once the system is down. So all but the header and the pages known to be bad
/// are free, where nothing on the disk says that the system may not be down (`MachineTrace`).
///
/// Where a system sleeps, its memory lies in the area, and another mark stands in place of the usual one.
enum SwapSpace {
  static let pageSizes = [4096, 8192, 16384, 32768, 65536]
  /// What Linux, and the patches of old that did the same, write over the mark.
  private static let sleepMarks = [
    "S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001", "\u{ED}\u{C3}\u{02}\u{E9}\u{98}V\u{E5}\u{0C}",
  ].map { $0.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) } }

  enum Mark: Equatable {
    /// `SWAPSPACE2`: a header at 1024.
    case current
    /// `SWAP-SPACE`: version 0, long out of use.
    case old
    case sleeping
  }

  /// The mark in the first bytes of a volume, and the size of the pages that it tells.
  static func mark(in start: [UInt8]) -> (mark: Mark, pageSize: Int)? {
    for size in pageSizes where start.count >= size {
      let bytes = start[(size - 10)..<size]
      if bytes.elementsEqual("SWAPSPACE2".utf8) { return (.current, size) }
      if bytes.elementsEqual("SWAP-SPACE".utf8) { return (.old, size) }
      if sleepMarks.contains(where: { bytes.starts(with: $0) }) { return (.sleeping, size) }
    }
    return nil
  }

  /// The free ranges, in bytes from the volume's start.
  static func freeRanges(_ volume: VolumeReader, _ mark: Mark, pageSize: Int) throws(SurveyStop) -> [Range<
    UInt64
  >] {
    let page = try volume.bytes(at: 0, count: pageSize, "the swap header")
    switch mark {
    case .sleeping:
      throw .obstacle(SpaceObstacle(.hibernated, "hibernated: it holds the memory of a system that sleeps"))
    case .current: return try currentRanges(volume, page)
    case .old:
      // Nothing makes it since 2001, and its header says little of what it is.
      throw .unsupported("a swap area of the old kind")
    }
  }

  /// union swap_header: version, last page, number of bad pages at 1024; the bad pages' numbers at 1536.
  private static func currentRanges(_ volume: VolumeReader, _ page: [UInt8]) throws(SurveyStop) -> [Range<
    UInt64
  >] {
    guard page.little(UInt32.self, at: 1024) == 1 else {
      throw .unsupported("a swap area of an unknown version, or of the other byte order")
    }
    let last = UInt64(page.little(UInt32.self, at: 1028))
    let badCount = Int(page.little(UInt32.self, at: 1032))
    let pageSize = UInt64(page.count)
    guard last > 0, (last + 1) * pageSize <= volume.length else {
      throw .damaged("the swap area is larger than its place")
    }
    guard badCount <= (page.count - 10 - 1536) / 4 else {
      throw .damaged("the list of bad pages is too long")
    }
    let bad = (0..<badCount).map { UInt64(page.little(UInt32.self, at: 1536 + $0 * 4)) }
    guard bad.allSatisfy({ (1...last).contains($0) }) else {
      throw .damaged("a bad page outside the swap area")
    }
    var ranges: [Range<UInt64>] = []
    var next: UInt64 = 1
    for number in bad.sorted() + [last + 1] {
      if number > next { ranges.append(next * pageSize..<number * pageSize) }
      next = max(next, number + 1)
    }
    return ranges
  }
}
