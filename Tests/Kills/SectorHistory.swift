import Glibc
import Synchronization
import TestSupport

/// What each sector of a raw file may hold: kept outside the mount, told of each change before it is issued, when it has
/// returned, and when it is durable.
///
/// Invariants:
/// - Generations only grow. Of two changes of one sector, the earlier has returned before the later is issued.
/// - A sector may hold its floor (the last change known to be durable) or any change issued since.
package final class SectorHistory: Sendable {
  /// One write or zeroing.
  package struct Change: Sendable {
    package let first: Int
    package let count: Int
    let generation: UInt64
    let isZero: Bool
  }

  /// What a sector holds: a write's generation, or a zeroing's.
  private struct Contents: Equatable {
    var generation: UInt64
    var isZero: Bool
    var shown: UInt64 { isZero ? 0 : generation }
  }

  private struct State {
    var floor: [Contents]
    /// Issued, not returned; after a kill they stay here.
    var underWay: [Change] = []
    /// Returned, in that order, not known to be durable.
    var returned: [Change] = []
    /// How many changes have left `returned` at its front.
    var settled = 0
    var generation: UInt64 = 0
  }

  let stamp: Stamp
  package let sectors: Int
  private let state: Mutex<State>

  /// - Parameter size: bytes, whole sectors, all zero.
  package init(seed: UInt64, size: Int) {
    stamp = Stamp(seed: seed)
    sectors = size / Stamp.sector
    state = Mutex(
      State(floor: Array(repeating: Contents(generation: 0, isZero: true), count: size / Stamp.sector)))
  }

  // MARK: - Changing

  /// Notes a change that is about to be issued, in a range that `choose` picks and no other change is under way in.
  package func begin(isZero: Bool, _ choose: () -> Range<Int>) -> Change {
    while true {
      let range = choose()
      let change: Change? = state.withLock { state in
        if state.underWay.contains(where: {
          $0.first < range.upperBound && range.lowerBound < $0.first + $0.count
        }) {
          return nil
        }
        state.generation += 1
        let change = Change(
          first: range.lowerBound, count: range.count, generation: state.generation, isZero: isZero)
        state.underWay.append(change)
        return change
      }
      if let change { return change }
    }
  }

  /// The change has returned; with `isDurable` its reply promised that it lasts.
  package func end(_ change: Change, isDurable: Bool) {
    state.withLock { state in
      state.underWay.removeAll { $0.generation == change.generation }
      if isDurable { SectorHistory.settle(change, &state) } else { state.returned.append(change) }
    }
  }

  /// Before a flush is asked for: what has returned by now, and will be durable when the flush has.
  package func mark() -> Int { state.withLock { $0.settled + $0.returned.count } }

  /// A flush that was asked for after `mark` has returned.
  package func settle(upTo mark: Int) {
    state.withLock { state in
      let count = mark - state.settled
      guard count > 0 else { return }
      for change in state.returned.prefix(count) { SectorHistory.settle(change, &state) }
      state.returned.removeFirst(count)
      state.settled = mark
    }
  }

  private static func settle(_ change: Change, _ state: inout State) {
    for sector in change.first..<change.first + change.count
    where state.floor[sector].generation < change.generation {
      state.floor[sector] = Contents(generation: change.generation, isZero: change.isZero)
    }
  }

  // MARK: - Checking

  package struct Verdict: Sendable {
    /// Sectors that hold a record, and were found to be what they may be.
    package var records = 0
    /// Sectors of which more than one state was allowed.
    package var open = 0
    /// Of those, the ones that hold something newer than the floor.
    package var newer = 0
  }

  /// Compares a whole file with what it may hold. With `settles`, what it does hold is all it may hold from then on.
  package func verify(_ path: String, settles: Bool = true) throws -> Verdict {
    try state.withLock { state in
      var allowed: [Int: [Contents]] = [:]
      for change in state.returned + state.underWay {
        for sector in change.first..<change.first + change.count
        where state.floor[sector].generation < change.generation {
          allowed[sector, default: []].append(Contents(generation: change.generation, isZero: change.isZero))
        }
      }
      var verdict = Verdict()
      let file = try OpenFile(path)
      guard file.size == UInt64(sectors * Stamp.sector) else {
        throw TestFailure("\(path): \(file.size) bytes")
      }
      let step = 2048
      for start in stride(from: 0, to: sectors, by: step) {
        let count = min(step, sectors - start)
        let bytes = try file.read(at: UInt64(start * Stamp.sector), count: count * Stamp.sector)
        guard bytes.count == count * Stamp.sector else { throw TestFailure("\(path): ends early") }
        try bytes.withUnsafeBytes { buffer in
          for index in 0..<count {
            let slice = UnsafeRawBufferPointer(
              rebasing: buffer[index * Stamp.sector..<(index + 1) * Stamp.sector])
            try check(slice, start + index, allowed[start + index] ?? [], settles, &state, &verdict, path)
          }
        }
      }
      guard settles else { return verdict }
      state.settled += state.returned.count
      state.returned = []
      state.underWay = []
      return verdict
    }
  }

  private func check(
    _ bytes: UnsafeRawBufferPointer, _ sector: Int, _ newer: [Contents], _ settles: Bool,
    _ state: inout State, _ verdict: inout Verdict, _ path: String
  ) throws {
    let floor = state.floor[sector]
    let found = stamp.generation(of: bytes, sector: sector)
    // The latest that looks so: two zeroings cannot be told apart.
    guard let found,
      let match = newer.last(where: { $0.shown == found }) ?? (floor.shown == found ? floor : nil)
    else {
      let names = ([floor] + newer).map { $0.isZero ? "zeros (\($0.generation))" : "\($0.generation)" }
      throw TestFailure(
        "\(path): sector \(sector) holds \(stamp.description(of: bytes)); it may hold generation "
          + names.joined(separator: ", "))
    }
    if found != 0 { verdict.records += 1 }
    if !newer.isEmpty { verdict.open += 1 }
    if match != floor { verdict.newer += 1 }
    if settles { state.floor[sector] = match }
  }
}
