import Simulation
import Storage
import TestSupport
import Testing

/// The fixed part; `make crash` looks at every moment and more states.
@Suite("What a merge leaves, wherever it ends")
struct MergeCrashTests {
  @Test(
    "The chain reads the same, no change is missed, and the merge can be run again",
    arguments: MergeCrash.shapes)
  func cutOff(_ shape: MergeShape) throws {
    var crash = MergeCrash(states: 1)
    try crash.run(shape, seed: 5, every: 3)
    #expect(crash.totals.cuts > 10, "\(crash.totals)")
  }
}
