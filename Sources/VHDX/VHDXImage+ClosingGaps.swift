import Storage

/// Holes that are smaller than what lies behind them: gaps that another program left in front of the first block, or the
/// room of a sector bitmap among blocks. Nothing from the tail fits, so what lies behind such a hole moves down by its length.
extension VHDXImage {
  /// What is copied for a gap is bounded by what it gives back; little is always copied.
  private static let mostCopied: UInt64 = 1 << 30
  private static let worthCopying: UInt64 = 32

  /// Closes the holes that are left, where that is worth its copying. `done` counts what is moved.
  func closeGaps(
    batch: UInt64, _ monitor: RelocationMonitor, _ done: inout BlockPacking
  ) throws(ImageError) {
    var start: UInt64 = 0
    var units: [Unit]?
    var rounds = 0
    while let gap = tables.withLock({ $0.space.lowestFree(from: start) }) {
      if units == nil {
        let found = try self.units { $0.offset > gap.lowerBound }
        let bytes = found.reduce(0) { $0 + $1.length }
        let free = tables.withLock { $0.space.freeBytes }
        guard bytes <= max(VHDXImage.mostCopied, free * VHDXImage.worthCopying) else { break }
        monitor.expect(bytes)
        units = found
        // Each block moves twice at most; more rounds mean that room is not given back.
        rounds = 2 * found.count + 2
      }
      guard rounds > 0 else { break }
      rounds -= 1
      guard var behind = units?.filter({ $0.offset >= gap.upperBound }), let first = behind.first else {
        break
      }
      // A region lies behind the gap, and stays.
      guard first.offset == gap.upperBound else {
        start = gap.upperBound
        continue
      }
      let moved =
        first.length <= UInt64(gap.count)
        ? try slide(&behind, into: gap, batch, monitor) : try evict(&behind, batch, monitor)
      for unit in moved {
        done.moves += 1
        done.bytes += unit.length
      }
      units = behind.sorted { $0.offset < $1.offset }
    }
    done.fileSize = tables.withLock { $0.space.end }
  }

  /// Moves the units behind a gap to its beginning, as many as it has room for at once.
  private func slide(
    _ units: inout [Unit], into gap: Range<UInt64>, _ batch: UInt64, _ monitor: RelocationMonitor
  ) throws(ImageError) -> [Unit] {
    var index = 0
    let list = units
    let moved = try move(monitor) { (tables, bytes) throws(ImageError) in
      guard index < list.count, bytes < batch,
        let target = tables.space.takeLowest(list[index].length, below: gap.upperBound)
      else { return nil }
      index += 1
      return (list[index - 1], target)
    }
    for number in moved.indices { units[number].offset = moved[number].target }
    return moved.map(\.unit)
  }

  /// Puts the first units behind a gap to the end of the file, so that the gap is large enough for those that follow, and
  /// for many of them at once.
  private func evict(
    _ units: inout [Unit], _ batch: UInt64, _ monitor: RelocationMonitor
  ) throws(ImageError) -> [Unit] {
    var index = 0
    let list = units
    // Each of these is copied twice: few where there are few.
    let most = min(batch, list.reduce(0) { $0 + $1.length } / 8)
    let moved = try move(monitor) { (tables, bytes) throws(ImageError) in
      guard index < list.count, bytes < max(most, 1) else { return nil }
      index += 1
      let length = list[index - 1].length
      return (list[index - 1], try tables.space.allocateAtEnd(length, file: file))
    }
    for number in moved.indices { units[number].offset = moved[number].target }
    return moved.map(\.unit)
  }
}
