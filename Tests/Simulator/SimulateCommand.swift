import ArgumentParser
import Foundation
import Simulation
import TestSupport

/// Random histories against a model.
struct SimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract:
      "Random histories of disks, with kills and power cuts, against a model of what they must read as.",
    discussion: "A failure prints its seed and the shortest steps that still fail.")

  @Option(help: "How many seeds to run.")
  var seeds: UInt64 = 200
  @Option(help: "The first seed.")
  var first: UInt64 = 1
  @Option(help: "This seed only, in this program.")
  var seed: UInt64?
  @Option(help: "This kind of chain only; otherwise the kinds take turns.")
  var kind: ChainKind?
  @Option(help: "Steps of a history.")
  var steps = History.usualLength
  @Option(help: "How many histories to run at most to find the shortest one that fails.")
  var tries = 1500
  @Option(help: "Programs that run side by side.")
  var jobs = 2
  @Flag(help: "Print the steps of each history before it is run.")
  var verbose = false
  @Flag(help: .hidden)
  var worker = false
  @Option(help: .hidden)
  var history: String?

  func run() throws {
    if let history { return try runOne(history) }
    let clock = ContinuousClock()
    let start = clock.now
    let range = seed.map { $0..<($0 + 1) } ?? first..<(first + seeds)
    var result = WorkerPool.Result()
    if worker || seed != nil {
      for seed in range where result.failures < WorkerPool.mostFailures {
        simulate(seed, &result)
        result.seeds += 1
      }
    } else {
      var words = [WorkerPool.program, "simulate", "--steps", "\(steps)", "--tries", "\(tries)"]
      if let kind { words += ["--kind", kind.rawValue] }
      result = WorkerPool(words: words, seeds: range, jobs: jobs).run()
      for (seed, how) in result.ended { explain(seed, how) }
    }
    let failures = result.failures + result.ended.count
    print(
      worker
        ? WorkerPool.line(result.totals, failures: failures)
        : "\(result.seeds) seeds, \(result.totals.steps) steps, \(result.totals.crashes) crashes, "
          + "\(result.totals.bytesCompared >> 20) MiB compared, \((clock.now - start).components.seconds) seconds, "
          + "\(failures) failed")
    if failures > 0 { throw ExitCode.failure }
  }

  private func kind(_ seed: UInt64) -> ChainKind {
    kind ?? ChainKind.allCases[Int(seed % UInt64(ChainKind.allCases.count))]
  }

  private func simulate(_ seed: UInt64, _ result: inout WorkerPool.Result) {
    if worker { WorkerPool.begin(seed) }
    let history = History(kind: kind(seed), seed: seed, length: steps)
    if verbose {
      print("\(kind(seed).rawValue), seed \(seed): \(history.shape)")
      for (number, step) in history.steps.enumerated() { print("  \(number + 1). \(step)") }
    }
    guard let failure = Simulation.run(history, &result.totals) else { return }
    result.failures += 1
    print(SimulationReport(kind: kind(seed), seed: seed, length: steps, failure, tries: tries))
  }

  /// A seed at which the program ended: each try to shorten it is a program of its own.
  private func explain(_ seed: UInt64, _ how: String) {
    let words = [WorkerPool.program, "simulate", "--history"]
    let failure = SimulationFailure(step: Int.max - 1, finding: "the program \(how)")
    print(
      SimulationReport(kind: kind(seed), seed: seed, length: steps, failure, tries: 300) { history in
        guard let json = try? JSONEncoder().encode(history),
          let result = try? TestSupport.run(words + [String(decoding: json, as: UTF8.self)], timeout: 60),
          result.status >= 128 || result.timedOut
        else { return nil }
        return failure
      })
  }

  private func runOne(_ text: String) throws {
    let history = try JSONDecoder().decode(History.self, from: Data(text.utf8))
    var totals = Totals()
    if let failure = Simulation.run(history, &totals) {
      print("step \(failure.step + 1): \(failure.finding)")
      throw ExitCode.failure
    }
  }
}
