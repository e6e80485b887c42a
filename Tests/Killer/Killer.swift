import ArgumentParser
import Glibc
import Kills
import TestSupport

/// Kills the server of a mount again and again while it is written to. The tests hold a short part of this.
@main
struct Killer: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Kills the server of a mount under load, mounts again, and checks that nothing durable was lost.")

  @Option(help: "How many kills.")
  var rounds = 20

  @Option(help: "A number from which all choices come; printed at the start.")
  var seed: UInt64?

  @Option(help: "Where the images of a failed round are kept.")
  var keep = "/tmp"

  func run() throws {
    if let obstacle = Machine.loopObstacle { throw ValidationError("cannot run here: \(obstacle)") }
    let seed = seed ?? UInt64.random(in: 1...999_999_999)
    print("\(rounds) rounds, seed \(seed), \(Vhdfs.program)")
    var totals = Totals()
    for series in KillSeries.plan(rounds: rounds, seed: seed) {
      do {
        let result = try series.run(keepingFailuresIn: keep)
        totals += result
        print(
          "ok      \(series.description): \(result.rounds) rounds, \(result.dirtyLogs) dirty logs, "
            + "\(result.killsInSync) during a flush")
      } catch {
        totals.failures += 1
        print("FAILED  \(error)")
      }
      fflush(nil)
    }
    print(totals.report)
    if totals.failures > 0 { throw ExitCode.failure }
  }
}
