import Dispatch
import Glibc
import Simulation
import Synchronization
import TestSupport

/// Runs parts of a range of seeds in programs of their own, side by side, so that a crash of one is a finding like any
/// other and not the end.
///
/// A worker writes `begun SEED` to its standard error before each seed, its failures to its standard output, and there
/// as the last line `totals` and its numbers.
struct WorkerPool {
  /// The words of a worker's command, without its part of the seeds.
  let words: [String]
  let seeds: Range<UInt64>
  let jobs: Int

  /// Seeds of one worker: few enough that a worker that hangs is noticed.
  private static let part: UInt64 = 20
  /// After so many failures no further part is begun.
  static let mostFailures = 5
  private static let secondsForPart: Double = 600

  struct Result: Sendable {
    var totals = Totals()
    var failures = 0
    /// Seeds that were run.
    var seeds = 0
    /// Seeds at which a worker ended without saying so, and its last words.
    var ended: [(seed: UInt64, how: String)] = []
  }

  /// Prints failures as they come.
  func run() -> Result {
    let next = Mutex(seeds.lowerBound)
    let result = Mutex(Result())
    DispatchQueue.concurrentPerform(iterations: jobs) { _ in
      while true {
        let first = next.withLock { next -> UInt64 in
          defer { next = min(seeds.upperBound, next + WorkerPool.part) }
          return next
        }
        // A mistake that many seeds show need not be told by all of them.
        let failures = result.withLock { $0.failures + $0.ended.count }
        guard first < seeds.upperBound, failures < WorkerPool.mostFailures else { return }
        let part = first..<min(seeds.upperBound, first + WorkerPool.part)
        let answer = runPart(part)
        result.withLock { result in
          result.totals += answer.totals
          result.failures += answer.failures
          result.seeds += part.count
          result.ended += answer.ended
        }
      }
    }
    return result.withLock { $0 }
  }

  private func runPart(_ part: Range<UInt64>) -> Result {
    var result = Result()
    var rest = part
    while !rest.isEmpty {
      let command = words + ["--worker", "--first", "\(rest.lowerBound)", "--seeds", "\(rest.count)"]
      let ended: ProgramResult
      do {
        ended = try TestSupport.run(command, timeout: WorkerPool.secondsForPart)
      } catch {
        result.ended.append((rest.lowerBound, "\(error)"))
        return result
      }
      var lines = ended.output.split(separator: "\n", omittingEmptySubsequences: false)
      while lines.last?.isEmpty == true { lines.removeLast() }
      if let numbers = lines.last.flatMap({ WorkerPool.numbers($0) }) {
        lines.removeLast()
        result.totals += numbers.totals
        result.failures += numbers.failures
        rest = rest.upperBound..<rest.upperBound
      } else {
        // It ended in the middle: with the seed that it began last.
        let begun = ended.errors.split(separator: "\n").compactMap { line in
          line.hasPrefix("begun ") ? UInt64(line.dropFirst(6)) : nil
        }
        let seed = begun.last ?? rest.lowerBound
        let how = ended.timedOut ? "did not come to an end" : "ended with status \(ended.status)"
        result.ended.append((seed, how + "\n" + ended.errors.suffix(1500)))
        rest = min(seed + 1, rest.upperBound)..<rest.upperBound
      }
      if !lines.isEmpty { print(lines.joined(separator: "\n")) }
    }
    return result
  }

  static func line(_ totals: Totals, failures: Int) -> String {
    "totals \(totals.steps) \(totals.crashes) \(totals.bytesCompared) \(failures)"
  }

  private static func numbers(_ line: Substring) -> (totals: Totals, failures: Int)? {
    let words = line.split(separator: " ")
    guard words.count == 5, words[0] == "totals" else { return nil }
    let numbers = words.dropFirst().compactMap { Int($0) }
    guard numbers.count == 4 else { return nil }
    var totals = Totals()
    (totals.steps, totals.crashes, totals.bytesCompared) = (numbers[0], numbers[1], numbers[2])
    return (totals, numbers[3])
  }

  /// Says which seed comes now, where the pool finds it when this program ends before its time.
  static func begin(_ seed: UInt64) {
    let line = "begun \(seed)\n"
    _ = line.utf8.withContiguousStorageIfAvailable { write(2, $0.baseAddress, $0.count) }
  }

  static var program: String {
    var path = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &path, path.count - 1)
    return count > 0
      ? String(decoding: path[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self) : "Simulator"
  }
}
