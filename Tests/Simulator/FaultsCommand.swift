import ArgumentParser
import Simulation
import TestSupport

/// Histories in which operations of the host fail.
struct FaultsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "faults",
    abstract: "Random histories, run again and again while the host's Nth read, write, growth or flush fails."
  )

  @Option(help: "How many seeds to run.")
  var seeds: UInt64 = 27
  @Option(help: "The first seed.")
  var first: UInt64 = 1
  @Option(help: "This seed only, in this program.")
  var seed: UInt64?
  @Option(help: "This kind of chain only; otherwise the kinds take turns.")
  var kind: ChainKind?
  @Option(help: "Steps of a history.")
  var steps = 30
  @Option(help: "How many operations of a history fail, one at a time, for each sort of fault.")
  var places = 10
  @Option(help: "Programs that run side by side.")
  var jobs = 2
  @Flag(help: .hidden)
  var worker = false

  func run() throws {
    let clock = ContinuousClock()
    let start = clock.now
    let range = seed.map { $0..<($0 + 1) } ?? first..<(first + seeds)
    var result = WorkerPool.Result()
    if worker || seed != nil {
      for seed in range where result.failures < WorkerPool.mostFailures {
        sweep(seed, &result)
        result.seeds += 1
      }
    } else {
      var words = [WorkerPool.program, "faults", "--steps", "\(steps)", "--places", "\(places)"]
      if let kind { words += ["--kind", kind.rawValue] }
      result = WorkerPool(words: words, seeds: range, jobs: jobs).run()
      for (seed, how) in result.ended { print("FAILED: faults, seed \(seed): the program \(how)") }
    }
    let failures = result.failures + result.ended.count
    print(
      worker
        ? WorkerPool.line(result.totals, failures: failures)
        : "faults: \(result.seeds) seeds, \(result.totals.steps) steps, \(result.totals.crashes) crashes, "
          + "\(result.totals.bytesCompared >> 20) MiB compared, \((clock.now - start).components.seconds) seconds, "
          + "\(failures) failed")
    if failures > 0 { throw ExitCode.failure }
  }

  private func sweep(_ seed: UInt64, _ result: inout WorkerPool.Result) {
    if worker { WorkerPool.begin(seed) }
    let kind = kind ?? ChainKind.allCases[Int(seed % UInt64(ChainKind.allCases.count))]
    let (before, history) = History.forFaults(kind: kind, seed: seed, length: steps)
    var generator = SeededGenerator(seed: seed)
    for fault in FaultKind.all(kind) {
      do {
        var sweep = try FaultSweep(before: before, history, fault)
        let numbers = (0..<sweep.count).shuffled(using: &generator).prefix(places).sorted()
        for number in numbers {
          if let finding = sweep.run(number) {
            result.failures += 1
            print("FAILED: \(kind.rawValue), seed \(seed), \(finding)")
            print("  Again: .build/release/Simulator faults --seed \(seed) --kind \(kind.rawValue)")
            break
          }
        }
        result.totals += sweep.totals
      } catch {
        result.failures += 1
        print("FAILED: \(kind.rawValue), seed \(seed), \(fault), without any fault: \(error)")
      }
    }
  }
}
