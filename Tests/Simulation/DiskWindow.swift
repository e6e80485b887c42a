/// The parts of a disk that a history looks at, one after the other: all of a small disk, the places that are touched
/// of a large one.
package struct DiskWindow: Sendable {
  /// Ascending, apart, at whole sectors.
  package let ranges: [Range<Int>]
  /// Where each of them begins in the window.
  package let starts: [Int]
  package let count: Int

  package init(_ ranges: [Range<Int>]) {
    self.ranges = ranges
    var starts: [Int] = []
    var count = 0
    for range in ranges {
      starts.append(count)
      count += range.count
    }
    self.starts = starts
    self.count = count
  }

  /// All of it up to 16 MiB; of larger disks what `touched` names, and 4 KiB around.
  package init(size: Int, touched: [Range<Int>]) {
    guard size > 16 << 20 else {
      self.init([0..<size])
      return
    }
    var ranges: [Range<Int>] = []
    for range in touched.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      let wide =
        max(0, range.lowerBound / 4096 * 4096 - 4096)..<min(size, (range.upperBound + 8191) / 4096 * 4096)
      if let last = ranges.last, last.upperBound >= wide.lowerBound {
        ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, wide.upperBound)
      } else {
        ranges.append(wide)
      }
    }
    self.init(ranges)
  }

  /// Where a place of the disk is in the window; it must be in one of the ranges.
  package func place(of offset: Int) -> Int {
    var (low, high) = (0, ranges.count - 1)
    while low < high {
      let middle = (low + high + 1) / 2
      if ranges[middle].lowerBound <= offset { low = middle } else { high = middle - 1 }
    }
    return starts[low] + offset - ranges[low].lowerBound
  }

  /// The place of the disk that is there.
  package func offset(of place: Int) -> Int {
    let index = starts.lastIndex { $0 <= place } ?? 0
    return ranges[index].lowerBound + place - starts[index]
  }
}
