import Glibc
import TestSupport

/// fio, with writes of which each is durable when it returns; fio keeps its own list of what has returned (its verify
/// state, outside the mount) and checks it in the next mount.
final class FioLoad: Load {
  static let size = 64 << 20

  private let directory: TemporaryDirectory
  private var generator: SeededGenerator
  private var program: RunningProgram?
  private var options: [String] = []

  private var state: String { directory.file("local-kill-0-verify.state") }

  init(seed: UInt64) throws {
    directory = try TemporaryDirectory()
    generator = SeededGenerator(seed: seed)
  }

  func prepare(_ disk: String) throws {}

  func start(_ disk: String, _ moment: Moment) throws {
    // An older list says nothing of this time.
    unlink(state)
    let isDeep = Bool.random(using: &generator)
    options = [
      "fio", "--name=kill", "--filename=\(disk)", "--rw=randwrite",
      "--bs=\(isDeep ? "16k" : "4k")", "--size=\(FioLoad.size)", "--verify=crc32c", "--allow_file_create=0",
      "--randseed=\(generator.next() >> 33)", "--aux-path=\(directory.path)", "--minimal",
    ]
    let engine =
      isDeep
      ? ["--ioengine=libaio", "--iodepth=8", "--direct=1"]
      : ["--ioengine=psync", "--iodepth=1", "--direct=0"]
    let program = try RunningProgram(
      options + engine + [
        "--do_verify=0", "--verify_state_save=1", "--sync=dsync", "--status-interval=20ms",
      ], directory: directory.path)
    self.program = program
    // Each of its writes is a flush.
    moment.syncsUnderWay.store(1, ordering: .relaxed)
    // It takes a while to begin, and a kill before that would show nothing: more must have been written than may be
    // under way.
    guard eventually(within: 30, { !program.isRunning || FioLoad.kilobytesWritten(program.output) >= 256 }),
      program.isRunning
    else { throw TestFailure("fio does not write: \(program.wait(timeout: 0).summary)") }
  }

  /// The newest of the lines in which fio says how far it is.
  private static func kilobytesWritten(_ output: String) -> Int {
    output.split(separator: "\n").compactMap { line in
      line.split(separator: ";", omittingEmptySubsequences: false).dropFirst(46).first.flatMap { Int($0) }
    }.max() ?? 0
  }

  func endIsNear() {}

  func stop(_ totals: inout Totals) throws {
    guard let result = program?.wait(timeout: 60), !result.timedOut else { throw TestFailure("fio hangs") }
    program = nil
  }

  func verifyForeign(_ raw: String) throws {}

  func verify(_ disk: String, _ totals: inout Totals) throws {
    guard fileExists(state) else { throw TestFailure("fio left no list of what it wrote") }
    // One at a time: with more under way fio is some blocks late in noticing where its list ends.
    let result = try run(
      options + [
        "--ioengine=psync", "--iodepth=1", "--verify_only=1", "--verify_state_load=1", "--verify_fatal=1",
      ], timeout: 120,
      directory: directory.path)
    guard result.succeeded, let kilobytes = result.output.split(separator: ";").dropFirst(5).first,
      let checked = Int(kilobytes), checked > 0
    else { throw TestFailure("fio does not find what it wrote: \(result.summary)") }
    totals.blocksCheckedByFio += checked * 1024 / (options.contains("--bs=4k") ? 4096 : 16384)
  }
}
