import Storage
import TestSupport
import VirtualDisk

/// Tries power cuts on histories, and throws `CrashFailure` for the first state that is not what it must be.
package struct CrashTrial {
  package var budget: CrashBudget
  package private(set) var totals = CrashTotals()
  package var judge: (any CrashJudge)?
  /// Only this epoch.
  package var onlyEpoch: Int?
  /// True when it is time to stop.
  package var isOver: () -> Bool = { false }
  private var scratch: [UInt8] = []

  package init(_ budget: CrashBudget) { self.budget = budget }

  /// Does the history, and looks at every state that a power cut could leave of it.
  package mutating func run(_ history: CrashHistory) throws {
    let chain = try CrashChain(history.kind, size: history.size)
    if !history.prelude.isEmpty {
      let window = DiskWindow(size: history.size, touched: history.prelude.compactMap(\.range))
      _ = try CrashRecord(chain, window: window, history.prelude + [.finish], seed: history.seed &+ 500)
    }
    let start = history.start.prepare(chain.leaf.contents, history.kind)
    let window = DiskWindow(
      size: history.size, touched: (history.prelude + history.steps).compactMap(\.range))
    let record: CrashRecord
    do {
      record = try CrashRecord(
        CrashChain(leaf: start, chain), window: window, history.steps, seed: history.seed)
    } catch {
      throw CrashFailure(
        history: history.name, kind: history.kind, seed: history.seed, epoch: -1, choice: "all", changes: [],
        sentence: "the history itself failed: \(error)")
    }
    totals.histories += 1
    try checkEnd(record, history)
    var expectation = Expectation(record.initial)
    for (number, epoch) in record.epochs.enumerated() {
      if isOver() { return }
      expectation.advance(
        durable: record.durable(before: epoch.lastOperation), last: epoch.lastOperation, record.model)
      if let onlyEpoch, onlyEpoch != number { continue }
      try look(at: epoch, number, record, expectation, history)
    }
  }

  mutating func noteHistory() { totals.histories += 1 }
  mutating func noteState() { totals.states += 1 }
  mutating func noteEpoch(isExhaustive: Bool) {
    totals.epochs += 1
    if isExhaustive { totals.exhaustive += 1 }
  }

  /// Every state of one epoch.
  private mutating func look(
    at epoch: RecordedEpoch, _ number: Int, _ record: CrashRecord, _ expectation: Expectation,
    _ history: CrashHistory
  ) throws {
    totals.epochs += 1
    let seed = history.seed &* 7919 &+ UInt64(number)
    var generator = SeededGenerator(seed: seed &+ 1)
    var position = 0
    var goneOn = 0
    let isExhaustive = try epoch.forEachChoice(budget, seed: seed) { choice in
      func failure(_ sentence: String) -> CrashFailure {
        CrashFailure(
          history: history.name, kind: history.kind, seed: history.seed, epoch: number,
          choice: choice.description, changes: epoch.outline, sentence: sentence)
      }
      let state = epoch.state(choice)
      let latest = epoch.latestOperation(choice)
      if let sentence = check(state, record, expectation, latest: latest, from: epoch.base) {
        throw failure(sentence)
      }
      totals.states += 1
      // Others refuse a file of which one region table is damaged.
      if budget.qemuEvery > 0, totals.states % budget.qemuEvery == 0, let judge, record.known.isEmpty {
        let sentence = try judge.refusal(state, history.kind, record.window) {
          expectation.firstForeign($0, latest: latest, record.model)
        }
        if let sentence { throw failure(sentence) }
        totals.qemu += 1
      }
      // The first state, and others here and there.
      if (number + history.name.utf8.count) % budget.secondEvery == 0, goneOn < budget.secondCrashes,
        position == 0 || Int.random(in: 0..<(4 << goneOn), using: &generator) == 0
      {
        goneOn += 1
        if let sentence = try goOn(from: state, scratch, record, history, &generator) {
          throw failure("gone on from there: " + sentence)
        }
      }
      position += 1
    }
    if isExhaustive { totals.exhaustive += 1 }
  }

  /// Opens the state to be read, and answers what is wrong with it; leaves what it read in `scratch`. `base`: the file at
  /// the last flush before the power cut; nil for a file that was closed cleanly.
  private mutating func check(
    _ state: SparseBytes, _ record: CrashRecord, _ expectation: Expectation, latest: Int,
    from base: SparseBytes? = nil
  ) -> String? {
    do throws(ImageError) {
      let file = HostFile(path: "leaf", double: RecordedFile(state), isWritable: false)
      let disk = try VirtualDisk(leaf: file, over: record.chain.parents)
      let findings = try disk.validateLeaf()
      if let finding = findings.all.first(where: { finding in
        finding.severity == .damage && !record.known.contains(finding.sentence)
          || base == nil && finding.severity == .unfinished
      }) {
        return finding.description
      }
      if let base, record.chain.isVHD, !findings.isClean, !CrashTrial.keepsFooter(of: base, state) {
        return "no footer is at the end, and the one that was there at the last flush is gone"
      }
      if scratch.count != record.window.count {
        scratch = [UInt8](repeating: 0xEE, count: record.window.count)
      }
      try CrashRecord.read(disk, record.window, into: &scratch)
    } catch {
      return "\(error)"
    }
    guard let place = expectation.firstForeign(scratch, latest: latest, record.model) else { return nil }
    let offset = record.window.offset(of: place)
    let found = scratch[place..<min(place + 8, scratch.count)].map { String($0, radix: 16) }.joined(
      separator: " ")
    return "the sector at \(offset) of the disk reads as none of what it may hold, but as \(found) …"
  }

  /// The footer that a file ended with is not overwritten before there is another at the end, for all who know nothing
  /// of the copy.
  private static func keepsFooter(of base: SparseBytes, _ state: SparseBytes) -> Bool {
    guard base.size >= 512 else { return true }
    let footer = base.bytes(at: base.size - 512, count: 512)
    return !footer.starts(with: "conectix".utf8)
      || state.size >= base.size && state.bytes(at: base.size - 512, count: 512) == footer
  }

  /// At its end the file holds everything, without any power cut; if it was closed, it is as a clean close leaves it.
  private mutating func checkEnd(_ record: CrashRecord, _ history: CrashHistory) throws {
    var expectation = Expectation(record.initial)
    expectation.advance(durable: record.steps.count, last: record.steps.count, record.model)
    guard record.endsClosed else { return }
    let last = record.steps.count
    if let sentence = check(
      record.chain.leaf.contents, record, expectation, latest: last)
    {
      throw CrashFailure(
        history: history.name, kind: history.kind, seed: history.seed, epoch: record.epochs.count,
        choice: "all",
        changes: [], sentence: "closed cleanly: " + sentence)
    }
  }

  /// Opens a state to be written, which replays and mends, writes a little, closes; with a power cut on the way.
  /// Nothing of `contents` but what is written may change. Answers what went wrong.
  private mutating func goOn(
    from state: SparseBytes, _ contents: [UInt8], _ record: CrashRecord, _ history: CrashHistory,
    _ generator: inout SeededGenerator
  ) throws -> String? {
    totals.seconds += 1
    let ranges = record.window.ranges
    let range = ranges[Int.random(in: 0..<ranges.count, using: &generator)]
    // A few bytes in one sector, and a few sectors elsewhere: what is around them must stay.
    let one = Int.random(in: range.lowerBound..<(range.upperBound - 700), using: &generator)
    let other = Int.random(in: 0..<((range.count - 4096) / 512), using: &generator) * 512 + range.lowerBound
    let steps: [CrashStep] = [.write(one, 100), .flush, .write(other, 1536), .flush, .finish]
    let second: CrashRecord
    do {
      second = try CrashRecord(
        CrashChain(leaf: state, record.chain), window: record.window, contents: contents,
        steps,
        seed: generator.next() >> 32)
    } catch {
      return "\(error)"
    }
    var expectation = Expectation(second.initial)
    for (number, epoch) in second.epochs.enumerated() {
      expectation.advance(
        durable: second.durable(before: epoch.lastOperation), last: epoch.lastOperation, second.model)
      for index in 0..<budget.secondStates {
        var choice = epoch.randomChoice(&generator)
        if index == 0 { choice.fates = choice.fates.map { _ in .lost } }
        let latest = epoch.latestOperation(choice)
        if let sentence = check(epoch.state(choice), second, expectation, latest: latest, from: epoch.base) {
          return "a second power cut, epoch \(number), kept \(choice): \(sentence)\n"
            + epoch.outline.map { "    \($0)" }.joined(separator: "\n")
        }
        totals.secondStates += 1
        if epoch.entries.count == 1, index > 2 { break }
      }
    }
    var end = Expectation(second.initial)
    end.advance(durable: steps.count, last: steps.count, second.model)
    return check(second.chain.leaf.contents, second, end, latest: steps.count)
      .map { "closed cleanly: " + $0 }
  }
}

/// Another program's word on a state.
package protocol CrashJudge {
  /// What the program has against the state; nil if nothing. `firstForeign` tells where contents of the window are
  /// none that they may be.
  func refusal(
    _ state: SparseBytes, _ kind: ChainKind, _ window: DiskWindow, firstForeign: ([UInt8]) -> Int?
  ) throws -> String?
}
