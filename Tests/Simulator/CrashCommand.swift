import ArgumentParser
import Glibc
import Simulation
import TestSupport

/// Power cuts at every moment of purposeful and of random histories.
struct CrashCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "crash",
    abstract:
      "Tries the states that power cuts could leave of images, and ends at the first that is not sound.",
    discussion: """
      First the purposeful histories on every kind of chain, tracked disks and merges, then random ones until the time is \
      over (random merges with --history random-merge). A failure \
      names the history, its seed, the epoch (what happened between two flushes) and which changes of it were kept.
      """)

  @Flag(help: "Only the purposeful histories, each state of small epochs: less than a minute.")
  var fixed = false

  @Option(help: "Minutes to go on for with random histories.")
  var minutes = 1.0

  @Option(help: "The seed of the first random history, or of the one that --history names.")
  var seed: UInt64 = 1

  @Option(help: "Only this kind of chain.")
  var kind: ChainKind?

  @Option(help: "Only this history, by its name.")
  var history: String?

  @Option(help: "Only this epoch of it.")
  var epoch: Int?

  @Option(help: "Show one in so many states to QEMU, or to libvhdi where QEMU cannot read the kind; 0: none.")
  var qemuEvery: Int?

  @Flag(name: .shortAndLong, help: "One line for each history.")
  var verbose = false

  func run() throws {
    var budget = fixed ? CrashBudget.quick : CrashBudget()
    if let qemuEvery { budget.qemuEvery = qemuEvery }
    var trial = CrashTrial(budget)
    trial.onlyEpoch = epoch
    var tracked = TrackedCrash(mostStates: fixed ? 200 : 4000)
    var merges = MergeCrash(states: fixed ? 2 : 8)
    if budget.qemuEvery > 0 { trial.judge = try QEMUJudge() }
    let start = CrashCommand.seconds
    let kinds = kind.map { [$0] } ?? ChainKind.allCases
    do {
      for kind in kinds where history == nil || history == "creation" { try trial.runCreation(kind) }
      for kind in kinds where history != "random" {
        for one in CrashHistory.purposeful(kind) where history == nil || history == one.name {
          try run(one, &trial)
        }
      }
      if history == nil || history == "tracked" {
        for shape in TrackedCrash.shapes {
          for child in [false, true] where !(child && shape.isFixed) { try tracked.run(shape, child: child) }
        }
      }
      if history == nil || history == "merge" {
        let every = !fixed ? 1 : history == nil ? 9 : 2
        for shape in MergeCrash.shapes { try merges.run(shape, seed: seed, every: every) }
      }
      if history == "random-merge" {
        let end = start + minutes * 60
        var number = seed
        while CrashCommand.seconds < end {
          try merges.run(MergeShape.random(seed: number), seed: number)
          number += 1
        }
      }
      if history == "random" {
        for kind in kinds { try run(.random(kind, seed: seed), &trial) }
      } else if !fixed, history == nil {
        let end = start + minutes * 60
        trial.isOver = { CrashCommand.seconds > end }
        var number = seed
        while CrashCommand.seconds < end {
          for kind in kinds where CrashCommand.seconds < end { try run(.random(kind, seed: number), &trial) }
          number += 1
        }
      }
    } catch let failure as TestFailure {
      print(failure)
      print("FAILED after \(tracked.totals); \(merges.totals)")
      throw ExitCode.failure
    } catch let failure as CrashFailure {
      print(failure)
      print("FAILED after \(trial.totals), \(Int(CrashCommand.seconds - start)) s")
      throw ExitCode.failure
    }
    print(
      "sound: \(trial.totals); \(tracked.totals); \(merges.totals), \(Int(CrashCommand.seconds - start)) s")
  }

  private func run(_ history: CrashHistory, _ trial: inout CrashTrial) throws {
    let start = CrashCommand.seconds
    let before = trial.totals
    try trial.run(history)
    guard verbose else { return }
    let states = trial.totals.states - before.states
    let seconds = CrashCommand.seconds - start
    print(
      "\(history.kind.rawValue) \(history.name) \(history.seed): \(trial.totals.epochs - before.epochs) epochs, "
        + "\(states) states, \(trial.totals.secondStates - before.secondStates) second, \(Int(seconds * 1000)) ms"
    )
  }

  private static var seconds: Double {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
  }
}

extension ChainKind: ExpressibleByArgument {}
