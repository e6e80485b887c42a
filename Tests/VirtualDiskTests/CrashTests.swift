import Simulation
import TestSupport
import Testing

/// The fixed part; `make crash` looks at more states of more histories.
@Suite("What a power cut leaves")
struct CrashTests {
  @Test("Each ordered step: every state opens, is sound, and reads old or new", arguments: ChainKind.allCases)
  func purposefulHistories(_ kind: ChainKind) throws {
    var trial = CrashTrial(.short)
    for history in CrashHistory.purposeful(kind) { try trial.run(history) }
    #expect(trial.totals.states > 50 && trial.totals.secondStates > 5, "\(trial.totals)")
  }

  @Test("Every state reads old, new or zero, and what was flushed", arguments: ChainKind.allCases)
  func randomHistory(_ kind: ChainKind) throws {
    var trial = CrashTrial(.short)
    for seed in UInt64(1)...4 { try trial.run(.random(kind, seed: seed)) }
  }

  @Test("A new image is whole, or none", arguments: ChainKind.allCases)
  func creation(_ kind: ChainKind) throws {
    var trial = CrashTrial(.short)
    try trial.runCreation(kind)
    #expect(trial.totals.states > 0)
  }

  @Test(
    "Other programs accept the states", .requiresPrograms("qemu-img"),
    arguments: [ChainKind.dynamicVHDX, .dynamicVHD, .childVHD])
  func others(_ kind: ChainKind) throws {
    var budget = CrashBudget.short
    budget.secondCrashes = 0
    budget.qemuEvery = 40
    budget.mostStates = 8
    budget.sampledStates = 4
    var trial = CrashTrial(budget)
    trial.judge = try QEMUJudge()
    for history in CrashHistory.purposeful(kind) { try trial.run(history) }
    #expect(trial.totals.qemu > 0, "\(trial.totals)")
  }
}

/// The fixed part; `make crash` looks at more states.
@Suite("What a power cut leaves of a disk and the record of its changes")
struct TrackedCrashTests {
  @Test("No change is missed, and no point that was made", arguments: TrackedCrash.shapes)
  func trackedDisk(_ shape: DiskShape) throws {
    var crash = TrackedCrash(mostStates: 4)
    try crash.run(shape)
    if !shape.isFixed, !shape.isSoleWriter { try crash.run(shape, child: true) }
    #expect(crash.totals.cuts > 50 && crash.totals.states > 150, "\(crash.totals)")
  }
}
