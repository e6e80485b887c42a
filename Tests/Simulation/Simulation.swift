import Storage
import TestSupport

/// A history that went wrong.
package struct SimulationFailure: Sendable {
  /// The step at which it showed, counted from 0; as many as there are steps: at the close after the last.
  package var step: Int
  package var finding: String

  package init(step: Int, finding: String) {
    self.step = step
    self.finding = finding
  }
}

/// A deliberate mistake, for tests that must see it found.
package enum Flaw: Sendable {
  /// The host says that it flushed, and did not.
  case flushesNothing
  /// The model takes a zeroed range for shorter by a sector than it was.
  case zeroesTooLittle
}

/// Runs histories.
package enum Simulation {
  /// Runs all steps, and a clean close with a look at everything. Answers what went wrong, if anything did.
  package static func run(
    _ history: History, _ totals: inout Totals, flaw: Flaw? = nil
  ) -> SimulationFailure? {
    var number = 0
    do {
      var disk = try SimulatedDisk(history.shape, flaw: flaw)
      defer { totals += disk.totals }
      for step in history.steps {
        try disk.perform(step)
        number += 1
      }
      try disk.perform(Step(.reopen, seed: 1))
      return nil
    } catch let error as ImageError {
      return SimulationFailure(step: number, finding: "failed: \(error)")
    } catch {
      return SimulationFailure(step: number, finding: "\(error)")
    }
  }
}
