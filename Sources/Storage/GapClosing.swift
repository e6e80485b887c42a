/// Closes gaps that nothing from the file's end fits into: what lies behind such a gap moves down by its length.
///
/// A block may not move onto itself, or a cut-off would lose it. So the first ones behind the gap go to the end of the file
/// where the gap is too small; those that follow have all their room to move by then. All places are in units of allocation.
package struct GapClosing {
  package struct Unit: Sendable {
    package var number: UInt32
    package var place: UInt64
    package var length: UInt64
    package init(number: UInt32, place: UInt64, length: UInt64) {
      self.number = number
      self.place = place
      self.length = length
    }
    var end: UInt64 { place + length }
  }

  /// Blocks move by multiples of this.
  package var alignment: UInt64
  /// What is moved aside takes so much at a time.
  package var batch: UInt64
  /// As much is always copied; more only where it is at most `worthCopying` times what that gives back.
  package var mostCopied: UInt64
  /// No block may end behind this.
  package var limit: UInt64
  /// Where a block goes that may not begin before a place.
  package var placeAtEnd: (UInt64) -> UInt64
  private let worthCopying: UInt64 = 32

  package init(
    alignment: UInt64, batch: UInt64, mostCopied: UInt64, limit: UInt64,
    placeAtEnd: @escaping (UInt64) -> UInt64
  ) {
    self.alignment = alignment
    self.batch = batch
    self.mostCopied = mostCopied
    self.limit = limit
    self.placeAtEnd = placeAtEnd
  }

  package struct Result {
    package var moves: [BlockMove] = []
    /// Where the last unit ends.
    package var end: UInt64
    /// What would have to be copied for gaps that are left; 0: none is.
    package var copyingForGaps: UInt64 = 0
  }

  /// - Parameter units: ascending by their places, none before `start`.
  package func close(_ units: [Unit], behind start: UInt64) -> Result {
    var result = Result(end: max(start, units.last?.end ?? start))
    var low = start
    let first = units.firstIndex { unit in
      if gap(low, unit) > 0 { return true }
      low = max(low, unit.end)
      return false
    }
    guard let first else { return result }
    let behind = units[first...]
    let copying = behind.reduce(0) { $0 + $1.length }
    var gain: UInt64 = 0
    var end = low
    for unit in behind {
      gain += gap(end, unit)
      end = unit.end
    }
    let longest = behind.reduce(0) { max($0, $1.length) }
    guard copying <= max(mostCopied, gain.multipliedReportingOverflow(by: worthCopying).partialValue),
      let aside = moveAside(behind, behind: low, longest, copying, &result)
    else {
      result.copyingForGaps = copying
      return result
    }
    slide(aside, behind: low, &result)
    return result
  }

  /// Moves the first units to the end of the file, until what follows has room; returns all that are to slide, in their
  /// new order. Nil where the file cannot grow so far.
  private func moveAside(
    _ units: ArraySlice<Unit>, behind low: UInt64, _ longest: UInt64, _ copying: UInt64,
    _ result: inout Result
  ) -> [Unit]? {
    var rest = units
    guard let first = rest.first, gap(low, first) < longest else { return Array(units) }
    // Each of these is copied twice: few where there are few.
    let room = max(longest, min(batch, copying / 8)) + alignment
    var end = result.end
    var aside: [Unit] = []
    var moves: [BlockMove] = []
    while let unit = rest.first, unit.place < low + room {
      rest.removeFirst()
      let place = placeAtEnd(end)
      end = place + unit.length
      guard end <= limit, let move = GapClosing.move(unit, to: place, needsCommit: moves.isEmpty) else {
        return nil
      }
      moves.append(move)
      aside.append(Unit(number: unit.number, place: place, length: unit.length))
    }
    result.moves = moves
    return rest + aside
  }

  private func slide(_ units: [Unit], behind start: UInt64, _ result: inout Result) {
    var low = start
    // Where the lowest lay of what was moved since the last commit.
    var lowestLeft: UInt64 = 0
    for unit in units {
      let shift = gap(low, unit)
      guard shift >= unit.length, let move = GapClosing.move(unit, to: unit.place - shift, needsCommit: false)
      else {
        low = max(low, unit.end)
        continue
      }
      low = unit.end - shift
      let needsCommit = low > lowestLeft
      lowestLeft = needsCommit ? unit.place : min(lowestLeft, unit.place)
      result.moves.append(move)
      result.moves[result.moves.count - 1].needsCommit = needsCommit
    }
    result.end = low
  }

  /// By how much a unit can come down to `low`.
  private func gap(_ low: UInt64, _ unit: Unit) -> UInt64 {
    unit.place > low ? (unit.place - low) / alignment * alignment : 0
  }

  private static func move(_ unit: Unit, to place: UInt64, needsCommit: Bool) -> BlockMove? {
    guard let from = UInt32(exactly: unit.place), let to = UInt32(exactly: place) else { return nil }
    return BlockMove(number: unit.number, from: from, to: to, needsCommit: needsCommit)
  }
}
