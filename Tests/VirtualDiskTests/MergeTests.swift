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
    try crash.run(shape, seed: 5, every: 4)
    #expect(crash.totals.cuts > 5, "\(crash.totals)")
  }

  @Test(
    "A host that fails leaves a chain that reads the same, and a merge that can be run again",
    arguments: MergeCrash.shapes)
  func failingHost(_ shape: MergeShape) throws {
    var crash = MergeCrash(states: 0)
    try crash.runFaults(shape, seed: 6, every: 17)
    #expect(crash.totals.cuts > 5, "\(crash.totals)")
  }

  @Test("A VHD is not made larger or smaller by it")
  func otherSizesOfVHD() throws {
    for sizes in [[64 << 10, 128 << 10], [128 << 10, 64 << 10]] {
      let chain = try MergeChain(MergeShape(isVHD: true, sizes: sizes), seed: 1)
      let run = MergeRun(chain, chain.start)
      let error = #expect(throws: ImageError.self) { try run.run() }
      #expect(error?.returnValue == .notSupported)
      try chain.check(run.state)
    }
  }

  @Test(
    "Cancelled, it leaves what can be run again", arguments: [MergeCrash.shapes[1], MergeCrash.shapes[9]])
  func cancelled(_ shape: MergeShape) throws {
    let chain = try MergeChain(shape, seed: 3)
    var steps = 0
    var isDone = false
    while !isDone {
      let run = MergeRun(chain, chain.start)
      var count = 0
      do throws(ImageError) {
        try run.run { (_) throws(ImageError) in
          count += 1
          if count > steps { throw ImageError(.failed, errno: .canceled, "cancelled") }
        }
        isDone = true
      } catch {
        #expect(error.errno == .canceled)
        try chain.check(run.state)
        let again = MergeRun(chain, run.state)
        try again.run()
        try chain.check(again.state, isDone: true)
      }
      steps += 3
    }
    #expect(steps > 6)
  }
}
