/// How much of the states that power cuts could leave is looked at.
package struct CrashBudget: Sendable {
  /// Up to so many changes between two flushes every subset of them is tried.
  package var exhaustiveChanges = 10
  /// Of more changes, and where an exhaustive look would take more states than `mostStates`, so many seeded states.
  package var sampledStates = 1000
  package var mostStates = 6144
  /// Of how many states of an epoch it is tried to go on from them, with a second power cut.
  package var secondCrashes = 3
  /// In one of how many epochs that is done.
  package var secondEvery = 1
  /// How many states of each epoch after that are looked at.
  package var secondStates = 12
  /// One in so many states is shown to QEMU; 0: none.
  package var qemuEvery = 50

  package init() {}

  /// For tests built without optimisation.
  package static var short: CrashBudget {
    var budget = CrashBudget()
    budget.exhaustiveChanges = 4
    budget.sampledStates = 16
    budget.mostStates = 24
    budget.secondCrashes = 1
    budget.secondEvery = 4
    budget.secondStates = 2
    budget.qemuEvery = 0
    return budget
  }

  /// For the purposeful histories of all kinds in less than a minute.
  package static var quick: CrashBudget {
    var budget = CrashBudget()
    budget.sampledStates = 200
    budget.mostStates = 1100
    budget.secondCrashes = 2
    budget.secondStates = 6
    budget.qemuEvery = 0
    return budget
  }
}

/// What was looked at.
package struct CrashTotals: Sendable, CustomStringConvertible {
  package var histories = 0
  package var epochs = 0
  /// Epochs of which every subset of the changes was tried.
  package var exhaustive = 0
  package var states = 0
  /// Histories that went on from a state, and the states in which a second power cut left them.
  package var seconds = 0
  package var secondStates = 0
  package var qemu = 0

  package init() {}

  package var description: String {
    "\(histories) histories, \(epochs) epochs (\(exhaustive) exhaustive), \(states) states; "
      + "gone on from \(seconds) of them, \(secondStates) states of a second power cut; "
      + "\(qemu) states shown to QEMU or libvhdi"
  }
}

/// A state that is not what it must be.
package struct CrashFailure: Error, Sendable, CustomStringConvertible {
  package var history: String
  package var kind: ChainKind
  package var seed: UInt64
  package var epoch: Int
  /// Which changes of the epoch were on the medium; empty where no power cut was needed.
  package var choice: String
  /// The changes of the epoch, for people.
  package var changes: [String]
  package var sentence: String

  package var description: String {
    """
    \(kind.rawValue) "\(history)" seed \(seed), epoch \(epoch), kept \(choice): \(sentence)
    \(changes.enumerated().map { "  \($0.offset): \($0.element)" }.joined(separator: "\n"))
    again: swift run -c release Simulator crash --kind \(kind.rawValue) --history \(history) --seed \(seed) \
    --epoch \(epoch)
    """
  }
}
