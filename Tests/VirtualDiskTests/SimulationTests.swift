import Simulation
import Storage
import TestSupport
import Testing

@Suite("Random histories against a model")
struct SimulationTests {
  /// The same seeds each time; `make simulate` runs others.
  @Test("what was written is read, and what was flushed survives", arguments: ChainKind.allCases)
  func fixedSeeds(_ kind: ChainKind) throws {
    for seed in UInt64(1)...1 {
      let history = History(kind: kind, seed: seed, length: 50)
      var totals = Totals()
      let failure = Simulation.run(history, &totals)
      if let failure {
        Issue.record("\(SimulationReport(kind: kind, seed: seed, length: 50, failure, tries: 200))")
        return
      }
      #expect(totals.steps > 50)
    }
  }

  @Test("the same seed is the same history and the same result")
  func isDeterministic() throws {
    for kind in [ChainKind.dynamicVHDX, .grandchildVHD] {
      let history = History(kind: kind, seed: 77, length: 40)
      #expect(history == History(kind: kind, seed: 77, length: 40))
      var one = Totals()
      var two = Totals()
      #expect(Simulation.run(history, &one) == nil)
      #expect(Simulation.run(history, &two) == nil)
      #expect(one == two)
    }
  }

  @Test(
    "a mistake is found, and told in a handful of steps", arguments: [Flaw.flushesNothing, .zeroesTooLittle])
  func shortestHistory(_ flaw: Flaw) throws {
    var found = 0
    for kind in [ChainKind.dynamicVHD, .childVHD, .fixedVHD] {
      for seed in UInt64(1)...6 {
        let history = History(kind: kind, seed: seed, length: 30)
        var totals = Totals()
        guard let failure = Simulation.run(history, &totals, flaw: flaw) else { continue }
        found += 1
        let report = SimulationReport(kind: kind, seed: seed, length: 30, failure, tries: 150) { history in
          var totals = Totals()
          return Simulation.run(history, &totals, flaw: flaw)
        }
        #expect(report.shortest.steps.count <= 4, "\(report)")
        #expect(report.description.contains("--seed \(seed) --kind \(kind.rawValue)"))
        break
      }
    }
    #expect(found == 3, "each kind shows it within a few seeds")
  }
}
