import Storage
import TestSupport
import Testing

/// Gaps are closed without ever touching room that a durable table may speak of.
@Suite struct GapClosingTests {
  typealias Unit = GapClosing.Unit

  private func closing(_ alignment: UInt64 = 1, mostCopied: UInt64 = .max, limit: UInt64 = .max) -> GapClosing
  {
    GapClosing(
      alignment: alignment, batch: 8, mostCopied: mostCopied, limit: limit,
      placeAtEnd: { ($0 + alignment - 1) / alignment * alignment })
  }

  /// Does the moves as a format would; returns where the units lie then, and how many bytes were copied.
  private func perform(_ moves: [BlockMove], _ units: [Unit]) throws -> [Unit] {
    var places = Dictionary(uniqueKeysWithValues: units.map { ($0.number, $0) })
    // What lay behind all of them went into holes just before, and no commit came since.
    let end = units.map { $0.place + $0.length }.max() ?? 0
    var left: [Range<UInt64>] = [end..<(end + 10_000)]
    for move in moves {
      if move.needsCommit { left = [] }
      let unit = try #require(places[move.number])
      try #require(unit.place == UInt64(move.from))
      let target = UInt64(move.to)..<(UInt64(move.to) + unit.length)
      for other in places.values {
        try #require(!target.overlaps(other.place..<(other.place + other.length)))
      }
      for room in left { try #require(!target.overlaps(room), "what lies there may still be spoken of") }
      left.append(unit.place..<(unit.place + unit.length))
      places[move.number]?.place = UInt64(move.to)
    }
    return places.values.sorted { $0.place < $1.place }
  }

  @Test(arguments: 0..<200) func anyLayout(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let alignment: UInt64 = Bool.random(using: &generator) ? 1 : 8
    var units: [Unit] = []
    let start = UInt64.random(in: 0...20, using: &generator)
    var end = start
    for number in 0..<UInt32.random(in: 0...40, using: &generator) {
      if Int.random(in: 0..<3, using: &generator) == 0 { end += UInt64.random(in: 0...30, using: &generator) }
      let length: UInt64 = [1, 4, 9, 16].randomElement(using: &generator) ?? 1
      units.append(Unit(number: number, place: end, length: length))
      end += length
    }
    let result = closing(alignment).close(units, behind: start)
    let after = try perform(result.moves, units)
    #expect(result.copyingForGaps == 0)
    #expect(result.end == max(start, after.last.map { $0.place + $0.length } ?? 0))
    var low = start
    for unit in after {
      #expect(unit.place - low < alignment)
      low = unit.place + unit.length
    }
    for unit in after {
      #expect(result.moves.count { $0.number == unit.number } <= 2, "copied twice at most")
    }
  }

  @Test func whatIsOutOfProportionStays() {
    let units = (0..<100).map { Unit(number: $0, place: UInt64($0) * 10 + 5, length: 10) }
    let stays = closing(mostCopied: 100).close(units, behind: 0)
    #expect(stays.moves.isEmpty && stays.copyingForGaps == 1000 && stays.end == 1005)
    // 32 times what it gives back.
    #expect(closing(mostCopied: 100).close(Array(units.prefix(16)), behind: 0).copyingForGaps == 0)
    #expect(closing(limit: 1006).close(units, behind: 0).moves.isEmpty, "no room behind the end")
    #expect(closing().close(units, behind: 0).end == 1000)
  }

  @Test func nothingToClose() {
    #expect(closing().close([], behind: 7).end == 7)
    let units = (0..<4).map { Unit(number: $0, place: UInt64($0) * 2 + 3, length: 2) }
    #expect(closing().close(units, behind: 3).moves.isEmpty)
    // Less than the alignment is no gap.
    #expect(closing(8).close(units, behind: 0).moves.isEmpty)
  }
}
