import Storage
import TestSupport

/// Merges that are cut off: after each change and each flush of any of the files, by a kill and by power cuts. In every
/// state the chain opens and reads the same and no answer of a record lacks a change; and the merge can be run again.
package struct MergeCrash {
  package struct Totals: Sendable, CustomStringConvertible {
    package var cuts = 0
    package var states = 0
    package var again = 0
    package init() {}
    package var description: String { "\(cuts) merges cut off, \(states) states, \(again) merges run again" }
  }

  /// States of a power cut that are looked at at each moment.
  package var states: Int
  package private(set) var totals = Totals()

  package init(states: Int) { self.states = states }

  package static let shapes: [MergeShape] = [
    MergeShape(isVHD: false, sizes: [3 << 20, 3 << 20]),
    MergeShape(isVHD: false, sizes: [3 << 20, 3 << 20, 3 << 20, 3 << 20]),
    MergeShape(isVHD: false, sizes: [3 << 20, 3 << 20, 3 << 20, 3 << 20], destination: 1),
    MergeShape(isVHD: false, isFixed: true, sizes: [2 << 20, 2 << 20, 2 << 20]),
    MergeShape(isVHD: false, sizes: [(2 << 20) + 8192, 5 << 20, 4 << 20]),
    MergeShape(isVHD: false, sizes: [4 << 20, (1 << 20) + 4096, 3 << 20], destination: 1),
    MergeShape(isVHD: false, isFixed: true, sizes: [(1 << 20) + 4096, 3 << 20]),
    MergeShape(isVHD: false, sizes: [5 << 20, 3 << 20]),
    MergeShape(
      isVHD: false, sizes: [3 << 20, 3 << 20, 3 << 20], sectorSize: 4096,
      blockSizes: [2 << 20, 1 << 20, 1 << 20]),
    MergeShape(isVHD: true, sizes: [300 << 10, 300 << 10, 300 << 10]),
    MergeShape(isVHD: true, isFixed: true, sizes: [300 << 10, 300 << 10], isSoleWriter: true),
    MergeShape(
      isVHD: true, sizes: [300 << 10, 300 << 10, 300 << 10, 300 << 10], destination: 1, isSoleWriter: true),
  ]

  package mutating func run(_ shape: MergeShape, seed: UInt64, every: Int = 1) throws {
    let chain = try MergeChain(shape, seed: seed)
    do { try chain.check(chain.start) } catch { throw TestFailure("\(shape), before: \(error)") }
    var changes = 0
    while try cut(chain, after: changes, seed: seed) { changes += every }
  }

  /// False when the merge ends before the power does.
  private mutating func cut(_ chain: MergeChain, after changes: Int, seed: UInt64) throws -> Bool {
    let run = MergeRun(chain, chain.start)
    run.power.last(for: changes)
    do throws(ImageError) {
      try run.run()
    } catch {
      guard error.chain.contains(where: { $0.errno == .ioError }) else {
        throw TestFailure("\(chain.shape), seed \(seed), cut off after \(changes): \(error)")
      }
      totals.cuts += 1
      do {
        try look(chain, run.state, again: true)
      } catch { throw TestFailure("\(chain.shape), seed \(seed), killed after \(changes): \(error)") }
      var generator = SeededGenerator(seed: seed &+ UInt64(changes) &* 7919)
      for number in 0..<states {
        do {
          try look(
            chain, run.stateAfterPowerCut(&generator), again: number == 0)
        } catch {
          throw TestFailure("\(chain.shape), seed \(seed), power cut \(number) after \(changes): \(error)")
        }
      }
      return true
    }
    do {
      try chain.check(run.state, isDone: true)
      try chain.checkExactness(run.state)
      // Once more changes nothing.
      let again = MergeRun(chain, run.state)
      try again.run()
      try chain.check(again.state, isDone: true)
    } catch { throw TestFailure("\(chain.shape), seed \(seed), done: \(error)") }
    return false
  }

  /// Merges during which the host fails: once or for good, from each operation on that one of the files is asked for.
  package mutating func runFaults(_ shape: MergeShape, seed: UInt64, every: Int = 1) throws {
    let chain = try MergeChain(shape, seed: seed)
    for fault in MergeCrash.faults {
      for place in 0...chain.depth where place == 0 || place >= chain.depth - 1 {
        var number = 0
        while try fail(chain, fault, place, number, seed: seed) { number += every }
      }
    }
  }

  private static let faults = [
    FaultKind([.read], .ioError), FaultKind([.write, .resize, .punch, .reserve, .flush], .ioError),
    FaultKind([.write, .resize, .punch, .reserve, .flush], .ioError, lasts: true),
    FaultKind([.write, .resize, .punch, .reserve], .noSpace, lasts: true), FaultKind([.flush], .noSpace),
    FaultKind([.write], .ioError, isHalf: true),
  ]

  /// False when the merge came to its end without the fault.
  private mutating func fail(
    _ chain: MergeChain, _ fault: FaultKind, _ place: Int, _ number: Int, seed: UInt64
  ) throws -> Bool {
    let run = MergeRun(chain, chain.start)
    run.files[place].follow(fault.plan(number))
    let what = "\(chain.shape), seed \(seed), \(fault), file \(place), operation \(number)"
    var failure: ImageError?
    do throws(ImageError) { try run.run() } catch { failure = error }
    guard run.files[place].failedCount > 0 else {
      if let failure { throw TestFailure("\(what): \(failure)") }
      return false
    }
    totals.cuts += 1
    for file in run.files { file.clearFaults() }
    do {
      if failure == nil {
        // What failed was not needed: room that was to be given back, say.
        totals.states += 1
        try chain.check(run.state, isDone: true, mayRefuse: true)
      } else {
        try look(chain, run.state, again: true)
      }
    } catch { throw TestFailure("\(what) (\(failure?.description ?? "done")): \(error)") }
    return true
  }

  private mutating func look(_ chain: MergeChain, _ state: MergeState, again: Bool) throws {
    totals.states += 1
    try chain.check(state, mayRefuse: true)
    guard again else { return }
    totals.again += 1
    let run = MergeRun(chain, state)
    do throws(ImageError) { try run.run() } catch { throw Finding("run again: \(error)") }
    try chain.check(run.state, isDone: true, mayRefuse: true)
  }
}
