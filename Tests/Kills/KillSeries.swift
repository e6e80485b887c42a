import Glibc
import TestSupport

/// One image, written to while its server is killed, a few times in a row; each time a new mount must show all that was
/// durable, and in the end other programs must read what the mount showed.
package struct KillSeries: Sendable, CustomStringConvertible {
  package enum Writer: String, CaseIterable, Sendable {
    /// Stamped sectors by a writer of this project, fio, files and a database in an ext4.
    case records, fio, files
  }

  package var kind: ImageKind
  package var writer: Writer
  package var seed: UInt64
  package var kills: Int

  package init(_ kind: ImageKind, _ writer: Writer, seed: UInt64, kills: Int) {
    self.kind = kind
    self.writer = writer
    self.seed = seed
    self.kills = kills
  }

  package var description: String { "\(kind.testDescription), \(writer.rawValue), seed \(seed)" }

  /// What is killed: each format and type, and large sectors. Small blocks, so that tables change often.
  package static let kinds = [
    ImageKind(format: "vhdx", kind: .dynamic, blockSize: "1M"),
    ImageKind(format: "vhdx", kind: .differencing, blockSize: "1M"),
    ImageKind(format: "vhd", kind: .dynamic, blockSize: "512K"),
    ImageKind(format: "vhd", kind: .differencing, blockSize: "512K"),
    ImageKind(format: "vhdx", kind: .dynamic, blockSize: "2M", sectorSize: 4096),
    ImageKind(format: "vhdx", kind: .differencing, blockSize: "1M", sectorSize: 4096),
    ImageKind(format: "vhdx", kind: .fixed),
    ImageKind(format: "vhd", kind: .fixed),
  ]

  /// The series of a run of so many rounds: every kind with every writer before any comes again; records most often.
  package static func plan(rounds: Int, seed: UInt64, killsInSeries: Int = 3) -> [KillSeries] {
    let writers: [Writer] = [.records, .files, .fio, .records]
    var generator = SeededGenerator(seed: seed)
    var result: [KillSeries] = []
    var left = rounds
    while left > 0 {
      let number = result.count
      let kills = min(left, killsInSeries)
      // The sum moves each kind on to its next writer in each turn.
      let writer = writers[(number + number / kinds.count) % writers.count]
      result.append(
        KillSeries(kinds[number % kinds.count], writer, seed: generator.next() >> 16, kills: kills))
      left -= kills
    }
    return result
  }

  /// Runs it. On a failure the images are kept in `keep`, and the error names the place.
  package func run(keepingFailuresIn keep: String) throws -> Totals {
    let workspace = try Workspace()
    var totals = Totals()
    do {
      var steps = try KillSteps(self, workspace)
      try steps.run(&totals)
      return totals
    } catch {
      let place = "\(keep)/vhdfs-kill-\(seed)"
      _ = try? TestSupport.run(["rm", "-rf", place])
      _ = try? TestSupport.run(["cp", "-r", "--sparse=always", workspace.images, place])
      throw TestFailure("\(description): \(error)\nthe images are kept in \(place)")
    }
  }
}
