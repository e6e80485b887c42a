import Glibc
import TestSupport

/// The steps of a series of kills.
struct KillSteps {
  private let series: KillSeries
  private let workspace: Workspace
  private let load: any Load
  private var generator: SeededGenerator
  private var name = ""

  private var image: String { workspace.image(name) }
  private var kind: ImageKind { series.kind }

  init(_ series: KillSeries, _ workspace: Workspace) throws {
    self.series = series
    self.workspace = workspace
    generator = SeededGenerator(seed: series.seed)
    load =
      switch series.writer {
      case .records: RecordLoad(seed: series.seed)
      case .fio: try FioLoad(seed: series.seed)
      case .files: try FileLoad(seed: series.seed)
      }
  }

  mutating func run(_ totals: inout Totals) throws {
    try makeImage()
    var mount = try workspace.mount()
    for _ in 0..<series.kills {
      try kill(mount, &totals)
      mount = try examine(&totals)
      totals.rounds += 1
      totals.byKind[kind.testDescription, default: 0] += 1
      totals.byLoad[series.writer.rawValue, default: 0] += 1
    }
    try finish(mount, &totals)
  }

  /// The load's first contents are the parent's where there is one, so that parents show through a child.
  private mutating func makeImage() throws {
    let size = String(type(of: load).size)
    var base = kind
    if kind.isChild { base.kind = .dynamic }
    name = "base.\(kind.format)"
    try Vhdfs.create(image, base.options(size: size))
    let mount = try workspace.mount()
    try load.prepare(mount.file(name))
    try mount.unmount()
    guard kind.isChild else { return }
    let parent = image
    name = "child.\(kind.format)"
    try Vhdfs.create(image, kind.options(size: size, parent: parent))
  }

  private mutating func kill(_ mount: VhdfsMount, _ totals: inout Totals) throws {
    let moment = Moment()
    try load.start(mount.file(name), moment)
    usleep(UInt32.random(in: 1000...500_000, using: &generator))
    // Two of three during a flush, at any moment of it.
    if Int.random(in: 0..<3, using: &generator) > 0 {
      _ = eventually(within: 1, every: 0.000_05) { moment.syncsUnderWay.load(ordering: .relaxed) > 0 }
      usleep(UInt32.random(in: 0...2000, using: &generator))
    }
    try moment.check()
    load.endIsNear()
    moment.isOver.store(true, ordering: .releasing)
    let isInSync = moment.syncsUnderWay.load(ordering: .relaxed) > 0
    mount.server.signal(SIGKILL)
    mount.server.wait(timeout: 30)
    totals.kills += 1
    if isInSync { totals.killsInSync += 1 }
    do {
      try load.stop(&totals)
    } catch {
      try? mount.kill()
      throw error
    }
    try mount.kill()
    totals.writes += moment.writes.load(ordering: .relaxed)
    totals.syncs += moment.syncs.load(ordering: .relaxed)
  }

  /// Looks at the killed image in every way there is; returns a writable mount in which all was found.
  private mutating func examine(_ totals: inout Totals) throws -> VhdfsMount {
    let isDirty = try kind.isVHDX && !ImageChecks.logIsEmpty(image)
    if isDirty { totals.dirtyLogs += 1 }
    let info = try Vhdfs.runChecked(["info", image])
    guard info.contains("\nstate offline\n"),
      !kind.isVHDX || info.contains("\nlog_dirty \(isDirty ? 1 : 0)\n")
    else { throw TestFailure("of the killed image is told: \(info)") }

    // fio and a file system want to write.
    if series.writer == .records, Bool.random(using: &generator) {
      let mount = try workspace.mount("-r")
      try load.verify(mount.file(name), &totals)
      try mount.unmount()
    }
    let copy = workspace.root.file("copy")
    if kind.isKnownToQEMU { try runChecked(["cp", "--sparse=always", image, copy]) }
    let mount = try workspace.mount()
    try load.verify(mount.file(name), &totals)
    // QEMU must see what is seen here, and not only something that would be allowed as well.
    if kind.isKnownToQEMU, series.writer == .records { try readByQEMU(copy, &totals) }
    return mount
  }

  /// QEMU replays the log by itself, and must come to the same contents.
  private func readByQEMU(_ copy: String, _ totals: inout Totals) throws {
    if kind.isVHDX {
      let mended = try TestSupport.run(["qemu-img", "check", "-f", "vhdx", "-r", "all", copy])
      guard mended.status == 0 || mended.status == 3 else {
        throw TestFailure("of the killed image: \(mended.summary)")
      }
    }
    let raw = workspace.root.file("raw")
    try runChecked(["qemu-img", "convert", "-f", kind.qemuFormat, "-O", "raw", copy, raw])
    try load.verifyForeign(raw)
    totals.readByQEMU += 1
  }

  /// After a clean unmount other programs read what the mount showed.
  private func finish(_ mount: VhdfsMount, _ totals: inout Totals) throws {
    // A mount that is only read leaves a log as it is.
    do {
      let disk = try OpenFile(mount.file(name), O_RDWR)
      try disk.write(try disk.read(at: 0, count: 4096), at: 0)
    }
    let shown = workspace.root.file("shown")
    try runChecked(["cp", "--sparse=always", mount.file(name), shown])
    try mount.unmount()
    if kind.isVHDX, try !ImageChecks.logIsEmpty(image) {
      throw TestFailure("the log is not empty after a clean close")
    }
    if kind.isKnownToQEMU {
      if kind.isVHDX { try runChecked(["qemu-img", "check", "-f", "vhdx", image]) }
      try runChecked(["qemu-img", "compare", "-f", kind.qemuFormat, "-F", "raw", image, shown])
      totals.imagesCompared += 1
    } else if kind.sectorSize == 512 {
      try runChecked(["sh", "-c", "7z e -so \"-t$3\" \"$1\" | cmp - \"$2\"", "sh", image, shown, kind.format])
      totals.imagesCompared += 1
    }
    let again = try workspace.mount("-r")
    try runChecked(["cmp", again.file(name), shown])
    try again.unmount()
  }
}

/// What is looked up in an image file directly.
enum ImageChecks {
  /// Whether the header that counts names no log.
  static func logIsEmpty(_ path: String) throws -> Bool {
    let file = try OpenFile(path)
    let headers = try [0x10000, 0x20000].map { try file.read(at: $0, count: 4096) }
    func number(_ header: [UInt8]) -> UInt64 {
      (0..<8).reduce(0) { $0 | UInt64(header[8 + $1]) << UInt64(8 * $1) }
    }
    let valid = headers.filter { header in
      var bytes = header
      bytes.replaceSubrange(4..<8, with: [0, 0, 0, 0])
      let sum = (0..<4).reduce(UInt32(0)) { $0 | UInt32(header[4 + $1]) << UInt32(8 * $1) }
      return crc32c(bytes) == sum
    }
    guard let current = valid.max(by: { number($0) < number($1) }) else {
      throw TestFailure("\(path): no valid header")
    }
    return current[48..<64].allSatisfy { $0 == 0 }
  }
}
