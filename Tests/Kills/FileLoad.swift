import Dispatch
import Glibc
import TestSupport

/// Programs that work in an ext4 on a loop device over the raw file: files that are written, flushed and renamed over
/// older ones, and a database that commits.
///
/// Unchecked: what is not in the journal is used by the thread that starts and stops only.
final class FileLoad: Load, @unchecked Sendable {
  static let size = 96 << 20

  private let directory: TemporaryDirectory
  private let inside: String
  private var generator: SeededGenerator
  private let journal = FileJournal()
  private let writers = DispatchGroup()
  private var device: LoopDevice?
  private var fileSystem: MountedFileSystem?
  private var database: RunningProgram?
  private var lastRow = 0

  init(seed: UInt64) throws {
    directory = try TemporaryDirectory()
    inside = try directory.directory("inside")
    generator = SeededGenerator(seed: seed)
  }

  func prepare(_ disk: String) throws {
    let device = try LoopDevice(disk, ["--direct-io=on"])
    defer { try? device.detach() }
    try runChecked(["mkfs.ext4", "-q", "-F", "-b", "4096", device.path])
    let fileSystem = try MountedFileSystem(device.path, at: inside)
    if isInstalled("sqlite3") {
      try runChecked([
        "sqlite3", "\(inside)/rows", "CREATE TABLE rows(number INTEGER PRIMARY KEY, bytes BLOB);",
      ])
    }
    try fileSystem.unmount()
  }

  func start(_ disk: String, _ moment: Moment) throws {
    let device = try LoopDevice(disk, ["--direct-io=on"])
    self.device = device
    fileSystem = try MountedFileSystem(device.path, at: inside)
    for writer in 0..<2 {
      let seed = generator.next()
      DispatchQueue.global().async(group: writers) { [self] in
        var generator = SeededGenerator(seed: seed)
        do {
          while !moment.isOver.load(ordering: .acquiring) { try replaceFile(writer, moment, &generator) }
        } catch {
          moment.ended(error)
        }
      }
    }
    guard isInstalled("sqlite3") else { return }
    let mode = Bool.random(using: &generator) ? "WAL" : "DELETE"
    // EXTRA: the directory is flushed too when a rollback journal is removed.
    var script = "PRAGMA journal_mode=\(mode); PRAGMA synchronous=EXTRA;\n"
    for row in lastRow + 1...lastRow + 4000 {
      script += "INSERT INTO rows VALUES(\(row), randomblob(\(row * 37 % 6000)));\nSELECT 'row', \(row);\n"
    }
    database = try RunningProgram(
      ["stdbuf", "-oL", "sqlite3", "-bail", "\(inside)/rows"], input: Array(script.utf8))
  }

  func endIsNear() {
    if let database { lastRow = FileLoad.rows(database.output).last ?? lastRow }
  }

  func stop(_ totals: inout Totals) throws {
    let isStopped = writers.wait(timeout: .now() + 60) == .success
    if let database {
      if database.wait(timeout: 30).timedOut { throw TestFailure("the database hangs after the kill") }
      self.database = nil
    }
    guard isStopped else { throw TestFailure("writers hang after the kill") }
    try fileSystem?.unmount()
    fileSystem = nil
    try device?.detach()
    device = nil
  }

  func verifyForeign(_ raw: String) throws {}

  func verify(_ disk: String, _ totals: inout Totals) throws {
    let device = try LoopDevice(disk, ["--direct-io=on"])
    defer { try? device.detach() }
    let fileSystem = try MountedFileSystem(device.path, at: inside)
    totals.filesChecked += try journal.verify(inside)
    if isInstalled("sqlite3") {
      let answer = try runChecked([
        "sqlite3", "\(inside)/rows",
        "PRAGMA integrity_check; SELECT 'row', count(*) FROM rows; SELECT 'row', max(number) "
          + "FROM rows;",
      ])
      let numbers = FileLoad.rows(answer)
      guard answer.hasPrefix("ok"), let found = numbers.first, found >= lastRow,
        found == numbers.last || found == 0
      else { throw TestFailure("the database after row \(lastRow) was committed: \(answer)") }
      lastRow = found
      totals.rowsChecked += found
    }
    try fileSystem.unmount()
    let check = try run(["e2fsck", "-f", "-n", device.path], timeout: 120)
    guard check.succeeded else { throw TestFailure("the file system after replay: \(check.summary)") }
    totals.fileSystemChecks += 1
  }

  /// Writes a new version of one of the writer's files and puts it in the place of the old one, durably.
  private func replaceFile(_ writer: Int, _ moment: Moment, _ generator: inout SeededGenerator) throws {
    let name = "file-\(writer)-\(Int.random(in: 0..<30, using: &generator))"
    let version = journal.begin(name)
    let temporary = "\(inside)/new-\(writer)"
    do {
      let file = try OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC)
      try file.write(FileJournal.contents(name, version), at: 0)
      moment.writes.add(1, ordering: .relaxed)
      try moment.durably { try file.sync() }
    }
    guard rename(temporary, "\(inside)/\(name)") == 0 else {
      throw TestFailure("rename: \(String(cString: strerror(errno)))")
    }
    try moment.durably { try OpenFile(inside).sync() }
    // Of a device that is gone the kernel may say what is not so: ext4's fsync of a directory succeeds when the
    // transaction that held its change was given up. Only what was said before the kill counts.
    if !moment.isOver.load(ordering: .acquiring) { journal.settle(name, version) }
  }

  /// The numbers in lines `row|N`.
  private static func rows(_ output: String) -> [Int] {
    output.split(separator: "\n").filter { $0.hasPrefix("row|") }.compactMap { Int($0.dropFirst(4)) }
  }
}
