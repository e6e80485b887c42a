import Glibc
import Storage
import TestSupport
import VirtualDisk

/// Something that must not be, in one sentence.
package struct Finding: Error, Sendable, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// What runs came to.
package struct Totals: Sendable, Equatable {
  package var steps = 0
  /// Power cuts and kills gone on from, and states of power cuts looked at.
  package var crashes = 0
  package var bytesCompared = 0

  package init() {}
  package static func += (left: inout Totals, right: Totals) {
    left.steps += right.steps
    left.crashes += right.crashes
    left.bytesCompared += right.bytesCompared
  }
}

/// A chain in memory beside what it must read as.
package struct SimulatedDisk {
  package let shape: DiskShape
  /// The leaf's file.
  package internal(set) var file: RecordedFile
  package internal(set) var disk: VirtualDisk
  package internal(set) var expected: ExpectedContents
  /// The files below the leaf, its parent first, and what the chain from there on reads as.
  var parents: [(file: RecordedFile, contents: [UInt8])] = []
  /// The record of its changes.
  var tracking: SimulatedTracking?
  var power = PowerSupply()
  package var totals = Totals()
  /// Whether a state that a power cut during each flush could have left is looked at.
  package var looksAtFlushes = true
  /// The seed of the power cut that is to come in the middle of something.
  private var powerCutToCome: UInt64?
  /// It is a kill that is to come: nothing that was written is lost.
  private var isKillToCome = false
  /// A step may not do more operations on the host's file than this.
  private static let operationLimit = 300_000

  private let flaw: Flaw?

  package init(_ shape: DiskShape, flaw: Flaw? = nil) throws {
    self.shape = shape
    self.flaw = flaw
    file = try shape.makeFile(size: shape.size, blockSize: shape.blockSize, parent: nil)
    expected = ExpectedContents([UInt8](repeating: 0, count: shape.size))
    if shape.isTracked { tracking = SimulatedTracking(shape, power) }
    file.connect(power)
    disk = try SimulatedDisk.open(file, [], shape, tracking)
    try startTracking()
  }

  private static func open(
    _ leaf: RecordedFile, _ parents: [RecordedFile], _ shape: DiskShape, _ tracking: SimulatedTracking?
  ) throws -> VirtualDisk {
    let files = ([leaf] + parents).enumerated().map { depth, double in
      HostFile(
        path: "layer\(depth)", double: double, isWritable: depth == 0,
        identity: FileIdentity(device: 7, inode: UInt64(1000 + parents.count - depth)))
    }
    return try VirtualDisk(files: files, tablePages: shape.tablePages, tracking: tracking?.given)
  }

  /// Opens the leaf as the program that tracks it, or only to look.
  func open(_ leaf: RecordedFile, tracked: Bool = false) throws -> VirtualDisk {
    try SimulatedDisk.open(leaf, parents.map(\.file), shape, tracked ? tracking : nil)
  }

  /// The same disk over a copy of its files, as an opening finds it.
  package func copy() throws -> SimulatedDisk {
    var copy = self
    copy.file = RecordedFile(file.contents)
    copy.parents = parents.map { (RecordedFile($0.file.contents), $0.contents) }
    copy.tracking = nil
    copy.disk = try copy.open(copy.file)
    return copy
  }

  /// Does one step, and looks at what power cuts during it could have left. Throws a `Finding` for what must not be, and
  /// the disk's own errors.
  package mutating func perform(_ step: Step) throws {
    totals.steps += 1
    if looksAtFlushes { file.sample(SeededGenerator(seed: step.seed)) }
    file.limitOperations(to: SimulatedDisk.operationLimit)
    tracking?.file.limitOperations(to: SimulatedDisk.operationLimit)
    if flaw == .flushesNothing, powerCutToCome == nil {
      file.follow(RecordedFile.FaultPlan([.flush], first: 0, lasts: true, .liesOnFlush))
    }
    do {
      try act(step)
    } catch let error as ImageError {
      guard let seed = powerCutToCome, error.chain.contains(where: { $0.errno == .ioError }) else {
        throw error
      }
      if isKillToCome { try kill() } else { try cutPower(seed) }
    }
    // Some go on without the record of changes when that fails; but without power nobody goes on.
    if let seed = powerCutToCome, power.isGone {
      if isKillToCome { try kill() } else { try cutPower(seed) }
    }
    try checkSamples()
    // Now and then; at crashes, points and closes always.
    if step.seed % 4 == 0 { try checkChanges("after it") }
  }

  private mutating func act(_ step: Step) throws {
    switch step.action {
    case .read(let offset, let length):
      let range = inside(offset, length)
      let found = try SimulatedDisk.read(disk, range)
      totals.bytesCompared += found.count
      if let place = expected.firstDifference(found, at: range.lowerBound) {
        throw Finding("byte \(place) reads wrong")
      }
    case .write(let offset, let length):
      let range = inside(offset, length)
      try write(
        pattern(seed: step.seed, at: UInt64(range.lowerBound), count: range.count), at: range.lowerBound)
    case .writeZeros(let offset, let length):
      let range = inside(offset, length)
      try write([UInt8](repeating: 0, count: range.count), at: range.lowerBound)
    case .zero(let offset, let length):
      let range = inside(offset, length)
      tracking?.note(range)
      expected.zero(
        at: range.lowerBound, length: flaw == .zeroesTooLittle ? max(0, range.count - 512) : range.count)
      if !range.isEmpty { try disk.zero(at: UInt64(range.lowerBound), length: UInt64(range.count)) }
    case .flush:
      try disk.flush()
      try settle()
    case .close:
      let wasWriting = disk.isWriting
      try disk.finishWriting()
      if wasWriting { try settle() }
      try validate(try open(RecordedFile(file.contents)), isClosed: wasWriting, "closed")
    case .reopen: try reopen()
    case .maintain: try disk.maintainOnce()
    case .kill: try kill()
    case .powerCut: try cutPower(step.seed)
    case .powerCutDuring(let changes):
      powerCutToCome = step.seed
      isKillToCome = false
      power.last(for: changes)
    case .killDuring(let changes):
      powerCutToCome = step.seed
      isKillToCome = true
      power.last(for: changes)
    case .child(let blockSize, let growth): try makeChild(blockSize: blockSize, growth: growth)
    case .merge(let depth): try merge(into: depth)
    case .compact(let mode, let offset, let length): try compact(step.seed, mode, inside(offset, length))
    case .readParent(let depth, let offset, let length): try readParent(depth, offset, length)
    case .point: try makePoint()
    case .dropPoint(let place): try dropPoint(place)
    case .foreignWrite(let offset, let length): try foreignWrite(step.seed, inside(offset, length))
    }
  }

  /// All is durable; but the states during the step are from before its end.
  mutating func settle() throws {
    try checkSamples()
    expected.settle()
  }

  private func inside(_ offset: Int, _ length: Int) -> Range<Int> {
    let start = min(offset, expected.size)
    return start..<min(start + length, expected.size)
  }

  private mutating func write(_ bytes: [UInt8], at offset: Int) throws {
    guard !bytes.isEmpty else { return }
    expected.write(bytes, at: offset)
    tracking?.note(offset..<(offset + bytes.count))
    let disk = disk
    let result: Result<Bool, ImageError> = bytes.withUnsafeBytes { buffer in
      Result { () throws(ImageError) in try disk.write(buffer, at: UInt64(offset), mayWait: true) }
    }
    guard try result.get() else { throw Finding("a write that may wait said that it would have to") }
  }

  static func read(_ disk: VirtualDisk, _ range: Range<Int>) throws -> [UInt8] {
    guard !range.isEmpty else { return [] }
    var bytes = [UInt8](repeating: 0xEE, count: range.count)
    let result: Result<Bool, ImageError> = bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(ImageError) in
        try disk.read(into: buffer, at: UInt64(range.lowerBound), mayWait: true)
      }
    }
    guard try result.get() else { throw Finding("a read that may wait said that it would have to") }
    return bytes
  }

  // MARK: - Closing, and what takes its place

  private mutating func reopen() throws {
    // A file that was opened and not written is left as it was, with its log.
    let wasWriting = disk.isWriting
    try disk.finishWriting()
    if wasWriting { try settle() }
    disk = try open(file, tracked: true)
    try validate(disk, isClosed: wasWriting, "closed")
    try compareAll("opened anew")
    // Without power the record's end was not told.
    try checkChanges("opened anew", mayRefuse: powerCutToCome != nil && tracking?.refusesUnclean ?? false)
  }

  /// The power goes after so many more changes and flushes; whoever performs the step sees its error.
  mutating func losePower(after changes: Int) { power.last(for: changes) }

  /// The disk as a machine finds it that was started anew, with its files in these states.
  func afterPowerCut(leaving leaf: SparseBytes, _ record: SparseBytes) throws -> SimulatedDisk {
    var copy = self
    copy.power = PowerSupply()
    copy.tracking?.power = copy.power
    copy.file = RecordedFile(leaf, modified: file.modified)
    copy.looksAtFlushes = false
    copy.tracking?.cutPower(leaving: record)
    copy.disk = try copy.open(copy.file, tracked: true)
    let found = try SimulatedDisk.read(copy.disk, 0..<expected.size)
    try copy.check(found, "after the power cut")
    copy.expected.adopt(found)
    try copy.checkChanges("after the power cut", mayRefuse: copy.tracking?.refusesUnclean ?? false)
    return copy
  }

  /// The disk as a program finds it that is started when the one before was killed.
  func afterKill() throws {
    var copy = self
    copy.power = PowerSupply()
    copy.tracking?.power = copy.power
    copy.file = RecordedFile(file.contents, modified: file.modified)
    copy.looksAtFlushes = false
    copy.tracking?.kill()
    copy.disk = try copy.open(copy.file, tracked: true)
    try copy.acceptContents("after the kill")
    try copy.checkChanges("after the kill", mayRefuse: copy.tracking?.refusesUnclean ?? false)
  }

  mutating func restorePower() {
    powerCutToCome = nil
    power.restore()
  }

  private mutating func kill() throws {
    totals.crashes += 1
    powerCutToCome = nil
    file.clearFaults()
    power.restore()
    disk = try open(file, tracked: true)
    try validate(disk, isClosed: false, "after the kill")
    try acceptContents("after the kill")
    try checkChanges("after the kill", mayRefuse: tracking?.refusesUnclean ?? false)
  }

  /// Reads all; what is found, and is allowed, is the truth from now on.
  package mutating func acceptContents(_ when: String) throws {
    let found = try SimulatedDisk.read(disk, 0..<expected.size)
    try check(found, when)
    expected.accept(found)
  }

  private mutating func cutPower(_ seed: UInt64) throws {
    totals.crashes += 1
    powerCutToCome = nil
    file.clearFaults()
    power.restore()
    try checkSamples()
    var generator = SeededGenerator(seed: seed)
    file = RecordedFile(file.crashState(&generator), modified: file.modified)
    file.connect(power)
    tracking?.cutPower(&generator)
    if looksAtFlushes { file.sample(generator) }
    file.limitOperations(to: SimulatedDisk.operationLimit)
    do {
      disk = try open(file, tracked: true)
      try validate(disk, isClosed: false, "after the power cut")
      let found = try SimulatedDisk.read(disk, 0..<expected.size)
      try check(found, "after the power cut")
      expected.adopt(found)
      try checkChanges("after the power cut", mayRefuse: tracking?.refusesUnclean ?? false)
    } catch let error as ImageError {
      throw Finding("after the power cut it cannot be read: \(error)")
    }
  }

  private mutating func makeChild(blockSize: Int, growth: Int) throws {
    try disk.finishWriting()
    // What a killed program left may not be durable; whoever makes a child over it asks for that.
    try disk.flush()
    try settle()
    let contents = expected.now
    parents.insert((RecordedFile(file.contents), contents), at: 0)
    file = try shape.makeFile(
      size: contents.count + growth, blockSize: blockSize, parent: file.contents)
    powerCutToCome = nil
    power.restore()
    file.connect(power)
    expected = ExpectedContents(contents + [UInt8](repeating: 0, count: growth))
    if shape.isTracked { tracking = SimulatedTracking(shape, power) }
    disk = try open(file, tracked: true)
    try startTracking()
    try compareAll("as a new child")
  }

  private mutating func compact(_ seed: UInt64, _ mode: Int, _ free: Range<Int>) throws {
    // The program says that it cannot.
    if shape.isVHD, shape.isFixed, parents.isEmpty { return }
    let wasWriting = disk.isWriting
    try disk.finishWriting()
    if wasWriting { try settle() }
    let compacting = Compacting(
      mode, free: free.isEmpty ? [] : [free], batch: shape.blockSize * Int(1 + seed % 4))
    let (plan, zeroed) = try compacting.plan(disk)
    for range in zeroed {
      expected.zero(at: range.lowerBound, length: range.count)
      tracking?.note(range)
    }
    let flushes = file.flushCount
    try compacting.run(plan, disk)
    guard file.flushCount > flushes else { return }
    try settle()
    try validate(try open(RecordedFile(file.contents)), isClosed: true, "compacted")
    try compareAll("compacted")
  }

  private mutating func readParent(_ depth: Int, _ offset: Int, _ length: Int) throws {
    guard depth < parents.count else { return }
    let chain = parents[depth...].map(\.file)
    let contents = parents[depth].contents
    let start = min(offset, contents.count)
    let range = start..<min(start + length, contents.count)
    let disk = try VirtualDisk(
      files: chain.map { HostFile(path: "parent", double: $0, isWritable: false) },
      tablePages: shape.tablePages)
    let found = try SimulatedDisk.read(disk, range)
    totals.bytesCompared += found.count
    if found != Array(contents[range]) { throw Finding("parent \(depth) reads wrong") }
  }

  // MARK: - Checks

  /// What the whole disk reads as, byte for byte.
  package mutating func compareAll(_ when: String) throws {
    let found = try SimulatedDisk.read(disk, 0..<expected.size)
    totals.bytesCompared += found.count
    if let place = expected.firstDifference(found) { throw Finding("\(when), byte \(place) reads wrong") }
  }

  private mutating func check(_ found: [UInt8], _ when: String) throws {
    totals.bytesCompared += found.count
    if let sector = expected.firstForeignSector(found) {
      throw Finding("\(when), the sector at \(sector) reads as nothing that it may read as")
    }
  }

  /// What the format says of itself: nothing may be damaged, and after a clean close nothing unfinished.
  func validate(_ disk: VirtualDisk, isClosed: Bool, _ when: String) throws {
    let findings = try disk.validateLeaf().all
    if let finding = findings.first(where: {
      $0.severity == .damage || isClosed && $0.severity == .unfinished
    }) {
      throw Finding("\(when): \(finding)")
    }
  }

  /// The states that a power cut just before the end of each flush could have left.
  private mutating func checkSamples() throws {
    for state in file.takeSamples() { try check(state, "power cut during it") }
  }

  /// Opens what a crash left, for reading only, and looks at all of it.
  package mutating func check(_ state: SparseBytes, _ when: String) throws {
    totals.crashes += 1
    do {
      let disk = try open(RecordedFile(state))
      try validate(disk, isClosed: false, when)
      try check(try SimulatedDisk.read(disk, 0..<expected.size), when)
    } catch let error as ImageError {
      throw Finding("\(when), it cannot be read: \(error)")
    }
  }
}
