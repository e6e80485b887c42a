/// A failure as it is told: the shortest steps that still fail, and how to see it again.
package struct SimulationReport: Sendable, CustomStringConvertible {
  package let kind: ChainKind
  package let seed: UInt64
  package let length: Int
  package let shortest: History
  package let failure: SimulationFailure

  /// Shrinks a history that failed.
  package init(
    kind: ChainKind, seed: UInt64, length: Int, _ failure: SimulationFailure, tries: Int = 1500,
    run: (History) -> SimulationFailure? = { history in
      var totals = Totals()
      return Simulation.run(history, &totals)
    }
  ) {
    self.kind = kind
    self.seed = seed
    self.length = length
    (shortest, self.failure) = withoutActuallyEscaping(run) { run in
      var history = History(kind: kind, seed: seed, length: length)
      // What comes after the failure has no part in it.
      history.steps = Array(history.steps.prefix(min(failure.step, history.steps.count - 1) + 1))
      var shrinking = Shrinking(tries: tries) { run($0) != nil }
      let shortest = shrinking.shortest(history)
      return (shortest, run(shortest) ?? failure)
    }
  }

  package var description: String {
    var lines = ["FAILED: \(kind.rawValue), seed \(seed): \(failure.finding)"]
    lines.append("  The shortest steps that fail, on \(shortest.shape):")
    for (number, step) in shortest.steps.enumerated() {
      lines.append("  \(number == failure.step ? ">" : " ")\(number + 1). \(step)")
    }
    if failure.step >= shortest.steps.count { lines.append("  > then a clean close, and opening anew") }
    lines.append(
      "  Again: .build/release/Simulator simulate --seed \(seed) --kind \(kind.rawValue)"
        + (length == History.usualLength ? "" : " --steps \(length)"))
    return lines.joined(separator: "\n")
  }
}

extension History {
  package static let usualLength = 100
}
