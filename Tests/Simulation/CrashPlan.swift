import TestSupport

extension RecordedEpoch {
  /// The states of the epoch to be looked at, one after the other; answers whether they hold every subset of the
  /// changes.
  func forEachChoice(
    _ budget: CrashBudget, seed: UInt64, _ body: (CrashChoice) throws -> Void
  ) rethrows -> Bool {
    var generator = SeededGenerator(seed: seed)
    let count = dataEntries.count
    let sizes = sizeOptions
    let perSubset = sizes.count * 2
    let isExhaustive = count <= budget.exhaustiveChanges && (1 << count) * perSubset <= budget.mostStates
    guard isExhaustive else {
      let all = sizeEntries.count
      try body(CrashChoice(fates: .init(repeating: .lost, count: count), sizes: 0))
      try body(CrashChoice(fates: .init(repeating: .kept, count: count), sizes: all))
      // Each change by itself, lost and kept, as far as it goes.
      for index in 0..<min(count, budget.sampledStates / 4) {
        var fates = [CrashChoice.Fate](repeating: .kept, count: count)
        fates[index] = .lost
        try body(CrashChoice(fates: fates, sizes: all))
        fates = fates.map { $0 == .kept ? .lost : .kept }
        try body(CrashChoice(fates: fates, sizes: all))
      }
      let single = 2 + 2 * min(count, budget.sampledStates / 4)
      for _ in 0..<max(budget.sampledStates / 2, budget.sampledStates - single) {
        try body(randomChoice(&generator))
      }
      return false
    }
    let overlaps = hasOverlaps
    for subset in 0..<(1 << count) {
      for size in sizes {
        let fates = (0..<count).map { subset >> $0 & 1 == 1 ? CrashChoice.Fate.kept : .lost }
        try body(CrashChoice(fates: fates, sizes: size))
        guard subset != 0 else { continue }
        let torn = fates.map { fate -> CrashChoice.Fate in
          fate == .kept && Bool.random(using: &generator) ? .torn(seed: generator.next() >> 40) : fate
        }
        // Tearing a single sector is the same as losing it.
        if torn != fates { try body(CrashChoice(fates: torn, sizes: size)) }
        if overlaps, subset & (subset - 1) != 0 {
          try body(CrashChoice(fates: fates, sizes: size, order: generator.next() >> 40))
        }
      }
    }
    return true
  }

  /// How many of the size entries may have happened: none, all, and of a few any number.
  private var sizeOptions: [Int] {
    let count = sizeEntries.count
    return count <= 2 ? Array(0...count) : [0, 1, count]
  }

  /// The last step that had begun when the state was left.
  func latestOperation(_ choice: CrashChoice) -> Int {
    var latest = firstOperation
    for (index, fate) in zip(dataEntries, choice.fates) where fate != .lost {
      latest = max(latest, entries[index].operation)
    }
    for index in sizeEntries.prefix(choice.sizes) { latest = max(latest, entries[index].operation) }
    return latest
  }

  /// The changes in words.
  var outline: [String] {
    entries.map { entry in
      let what =
        switch entry.change {
        case .write(let offset, let bytes): "write \(bytes.count) bytes at \(offset)"
        case .zero(let offset, let length): "punch \(length) bytes at \(offset)"
        case .resize: "set the size"
        }
      return "\(what), then \(entry.sizeAfter) bytes long (step \(entry.operation))"
    }
  }
}
