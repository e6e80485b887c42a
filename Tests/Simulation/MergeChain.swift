import ChangeTracking
import Storage
import Synchronization
import TestSupport
import VHD
import VHDX
import VirtualDisk

/// What a chain to be merged is like.
package struct MergeShape: Sendable, CustomStringConvertible {
  package var isVHD: Bool
  package var isFixed: Bool
  /// Bytes of each disk, root first.
  package var sizes: [Int]
  /// Which file is merged into; 0 is the root.
  package var destination: Int
  package var sectorSize = 512
  package var blockSizes: [Int]
  /// A VHD that was not closed is believed to be as it was left.
  package var isSoleWriter = false
  package var isTracked = true

  package init(
    isVHD: Bool, isFixed: Bool = false, sizes: [Int], destination: Int = 0, sectorSize: Int = 512,
    blockSizes: [Int]? = nil, isSoleWriter: Bool = false, isTracked: Bool = true
  ) {
    self.isVHD = isVHD
    self.isFixed = isFixed
    self.sizes = sizes
    self.destination = destination
    self.sectorSize = sectorSize
    self.blockSizes = blockSizes ?? [Int](repeating: isVHD ? 32 << 10 : 1 << 20, count: sizes.count)
    self.isSoleWriter = isSoleWriter
    self.isTracked = isTracked
  }

  /// Any chain that can be merged.
  package static func random(seed: UInt64) -> MergeShape {
    var generator = SeededGenerator(seed: seed &* 77 &+ 3)
    let isVHD = Bool.random(using: &generator)
    let levels = Int.random(in: 2...6, using: &generator)
    let sector = isVHD || Int.random(in: 0..<3, using: &generator) > 0 ? 512 : 4096
    let unit = isVHD ? 16 << 10 : 1 << 20
    func size() -> Int {
      let blocks = Int.random(in: 1...(isVHD ? 12 : 4), using: &generator)
      return blocks * unit
        - (Bool.random(using: &generator) ? 0 : Int.random(in: 1...3, using: &generator) * sector)
    }
    let same = max(size(), 128 << 10)
    let isResized = !isVHD && Bool.random(using: &generator)
    return MergeShape(
      isVHD: isVHD, isFixed: Int.random(in: 0..<3, using: &generator) == 0,
      sizes: (0..<levels).map { _ in isResized ? size() : same },
      destination: Int.random(in: 0..<(levels - 1), using: &generator), sectorSize: sector,
      blockSizes: (0..<levels).map { _ in unit << Int.random(in: 0...1, using: &generator) },
      isSoleWriter: Bool.random(using: &generator), isTracked: Int.random(in: 0..<4, using: &generator) > 0)
  }

  package var description: String {
    "\(isVHD ? "VHD" : "VHDX")\(isFixed ? ", fixed" : ""), \(sizes) into \(destination), sectors of \(sectorSize)"
      + (isSoleWriter ? ", sole writer" : "") + (isTracked ? "" : ", untracked")
  }
}

/// The files of a chain and of the records of its disks, at a moment.
package struct MergeState: Sendable {
  /// Leaf first.
  var files: [SparseBytes]
  var modified: [Int64]
  var records: [SparseBytes]
  var boot: GUID
}

/// A chain in memory beside what it must read as before and after a merge.
package struct MergeChain {
  struct Point {
    var id: String
    /// The place of the disk that it was made of; 0 is the leaf.
    var owner: Int
    /// What the disk read as then.
    var contents: [UInt8]
    /// Units that the disk's own record says have changed since.
    var answer: Set<Int> = []
  }

  package let shape: MergeShape
  package private(set) var start = MergeState(files: [], modified: [], records: [], boot: .zero)
  /// What each file's chain reads as, leaf first.
  private(set) var contents: [[UInt8]] = []
  private(set) var points: [Point] = []
  /// The place of the destination; 0 is the leaf.
  package let depth: Int
  /// Units that a file above the destination holds.
  private(set) var held: Set<Int> = []

  static let unit = 4096

  /// What the source reads as.
  package var wanted: [UInt8] { contents[0] }

  package init(_ shape: MergeShape, seed: UInt64) throws {
    self.shape = shape
    depth = shape.sizes.count - 1 - shape.destination
    var generator = SeededGenerator(seed: seed)
    var files: [RecordedFile] = []
    var records: [RecordedFile] = []
    var model: [UInt8] = []
    let boot = GUID.random()
    for (level, size) in shape.sizes.enumerated() {
      let disk = DiskShape(
        isVHD: shape.isVHD, isFixed: shape.isFixed, size: size, blockSize: shape.blockSizes[level],
        sectorSize: shape.sectorSize)
      let double = try disk.makeFile(
        size: size, blockSize: shape.blockSizes[level], parent: files.first?.contents)
      files.insert(double, at: 0)
      records.insert(RecordedFile(), at: 0)
      model = Array(model.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - model.count))
      let owner = shape.sizes.count - 1 - level
      let opened = try VirtualDisk(
        files: MergeChain.hostFiles(files),
        tracking: shape.isTracked ? given(records[0], boot, owner: owner) : nil)
      if shape.isTracked { try opened.setTracking(.on) }
      try fill(opened, level: level, &model, &generator, owner: owner)
      try opened.finishWriting()
      contents.insert(model, at: 0)
    }
    start = MergeState(
      files: files.map(\.contents), modified: files.map(\.modified), records: records.map(\.contents),
      boot: boot)
    try noteAnswers()
    try noteHeld()
  }

  /// Writes, zeroes, and makes points in between.
  private mutating func fill(
    _ disk: VirtualDisk, level: Int, _ model: inout [UInt8], _ generator: inout SeededGenerator, owner: Int
  ) throws {
    let sector = shape.sectorSize
    let block = shape.blockSizes[level]
    for round in 0..<2 {
      for _ in 0..<5 {
        let length = min(model.count, Int.random(in: 1...24, using: &generator) * sector)
        let start = Int.random(in: 0...((model.count - length) / sector), using: &generator) * sector
        let bytes = pattern(seed: generator.next(), count: length)
        model.replaceSubrange(start..<(start + length), with: bytes)
        try disk.write(bytes, at: start)
      }
      // A whole block that reads as zero, over whatever is below; and a part of one.
      let blocks = (model.count + block - 1) / block
      let zeroed = Int.random(in: 0..<blocks, using: &generator) * block
      for range in [zeroed..<min(model.count, zeroed + block), 2 * sector..<(5 * sector)] {
        for place in range { model[place] = 0 }
        try disk.zero(at: UInt64(range.lowerBound), length: UInt64(range.count))
      }
      if shape.isTracked, round == 0 {
        let point = try disk.makePoint(level == 1 ? "middle" : "monday")
        points.append(Point(id: point.id, owner: owner, contents: model))
      }
    }
  }

  private func given(_ record: RecordedFile, _ boot: GUID, owner: Int) -> GivenTracking {
    GivenTracking(HostFile(path: "record\(owner)", double: record), boot: boot, options: options)
  }

  private var options: TrackingOptions {
    var options = TrackingOptions()
    options.isSoleWriter = shape.isSoleWriter
    options.regionShift = 18
    return options
  }

  static func hostFiles(_ files: [RecordedFile], writable: Bool = true) -> [HostFile] {
    files.enumerated().map { place, double in
      HostFile(
        path: "file\(files.count - 1 - place)", double: double, isWritable: writable,
        identity: FileIdentity(device: 7, inode: UInt64(1000 + files.count - 1 - place)))
    }
  }

  private mutating func noteAnswers() throws {
    for index in points.indices {
      let disk = try open(start, from: points[index].owner, tracked: true)
      points[index].answer = try MergeChain.units(disk.changes(since: points[index].id), size: Int(disk.size))
    }
  }

  private mutating func noteHeld() throws {
    for level in 0..<depth {
      let disk = try open(start, from: level, tracked: false)
      held.formUnion(try MergeChain.units(disk.changes(since: "parent"), size: Int(disk.size)))
    }
    let sizes = contents.map(\.count)
    let smallest = sizes[...depth].min() ?? 0
    if smallest < wanted.count {
      held.formUnion(smallest / MergeChain.unit..<(wanted.count + 4095) / MergeChain.unit)
    }
  }

  static func units(_ changes: DiskChanges, size: Int) throws -> Set<Int> {
    var units: Set<Int> = []
    var position: UInt64 = 0
    while position < UInt64(size), let range = try changes.next(from: position, end: UInt64(size)) {
      units.formUnion(Int(range.lowerBound) / unit...(Int(range.upperBound) - 1) / unit)
      position = range.upperBound
    }
    return units
  }

  // MARK: - Looking

  /// The disk that the file at `place` shows in a state.
  func open(_ state: MergeState, from place: Int, tracked: Bool) throws -> VirtualDisk {
    let doubles = zip(state.files, state.modified).map { RecordedFile($0, modified: $1) }
    return try VirtualDisk(
      files: Array(MergeChain.hostFiles(doubles)[place...]),
      tracking: tracked && state.records[place].size > 0
        ? given(RecordedFile(state.records[place]), state.boot, owner: place) : nil)
  }

  static func contents(_ disk: VirtualDisk) throws -> [UInt8] {
    try SimulatedDisk.read(disk, 0..<Int(disk.size))
  }

  /// What must be in every state: the chain opens and reads the same, nothing is damaged, and no answer lacks a change.
  package func check(_ state: MergeState, isDone: Bool = false, mayRefuse: Bool = false) throws {
    try checkLinks(state, isDone: isDone)
    let source = try open(state, from: 0, tracked: false)
    guard try MergeChain.contents(source) == wanted else { throw Finding("the source reads wrong") }
    if depth + 1 < contents.count {
      let below = try open(state, from: depth + 1, tracked: false)
      guard try MergeChain.contents(below) == contents[depth + 1] else {
        throw Finding("what is below reads wrong")
      }
    }
    for place in [depth - 1, depth] {
      let findings = try open(state, from: place, tracked: false).validateLeaf().all
      if let finding = findings.first(where: {
        $0.severity == .damage || isDone && $0.severity == .unfinished
      }) {
        throw Finding("file \(place): \(finding)")
      }
    }
    if isDone {
      let merged = try MergeChain.contents(try open(state, from: depth, tracked: false))
      guard merged.count == wanted.count else { throw Finding("the destination has \(merged.count) bytes") }
      if let place = merged.indices.first(where: { merged[$0] != wanted[$0] }) {
        throw Finding("the destination's byte \(place) is not the source's")
      }
    }
    guard shape.isTracked else { return }
    try checkPoints(state, of: 0, needed: { $0.owner == 0 }, mayRefuse: mayRefuse)
    try checkPoints(
      state, of: depth, needed: { isDone ? $0.owner <= depth : $0.owner == depth }, mayRefuse: mayRefuse)
  }

  private func checkLinks(_ state: MergeState, isDone: Bool) throws {
    guard !shape.isVHD else { return }
    let images = try state.files.map { try VHDXImage(HostFile(path: "link", double: RecordedFile($0))) }
    for (place, image) in images.enumerated().dropLast() {
      guard let locator = image.parentLocator else { throw Finding("file \(place) has no parent any more") }
      let parent = images[place + 1].dataWriteGUID
      guard locator.linkage == parent || locator.linkage2 == parent else {
        throw Finding("file \(place) does not find its parent")
      }
      if isDone, locator.linkage != parent || locator.linkage2 != nil {
        throw Finding("file \(place) still speaks of a merge")
      }
    }
  }

  private func checkPoints(
    _ state: MergeState, of place: Int, needed: (Point) -> Bool, mayRefuse: Bool
  ) throws {
    let disk = try open(state, from: place, tracked: true)
    let facts = try disk.trackingFacts()
    if let refusal = facts.refusal {
      if mayRefuse, shape.isVHD, !shape.isSoleWriter, refusal.errno.rawValue == 116 { return }
      throw Finding("the record of file \(place) is refused: \(refusal)")
    }
    let now = try MergeChain.contents(disk)
    // A VHD's own points end when it was not closed, and a merge that is run again begins a new record.
    let mayMiss = mayRefuse && shape.isVHD && !shape.isSoleWriter && place == depth
    for point in points where needed(point) || facts.points.contains(where: { $0.id == point.id }) {
      if mayMiss, point.owner == depth, !facts.points.contains(where: { $0.id == point.id }) { continue }
      guard facts.points.contains(where: { $0.id == point.id }) else {
        throw Finding("a point of file \(point.owner) is missing in the record of file \(place)")
      }
      let answer = try MergeChain.units(disk.changes(since: point.id), size: now.count)
      for unit in 0..<((now.count + MergeChain.unit - 1) / MergeChain.unit) where !answer.contains(unit) {
        let range = unit * MergeChain.unit..<min(now.count, (unit + 1) * MergeChain.unit)
        let end = point.contents.count
        let old = point.contents[min(range.lowerBound, end)..<min(range.upperBound, end)]
        guard now[range].elementsEqual(old) else {
          throw Finding(
            "in the record of file \(place), a change at \(range.lowerBound) since a point of \(point.owner) is missed"
          )
        }
      }
    }
  }

  /// That answers are no larger than they need be, where nothing was cut off.
  package func checkExactness(_ state: MergeState) throws {
    guard shape.isTracked else { return }
    let disk = try open(state, from: depth, tracked: true)
    for point in points where point.owner <= depth {
      let answer = try MergeChain.units(disk.changes(since: point.id), size: wanted.count)
      if point.owner == 0, answer != point.answer {
        throw Finding("a point of the source is answered in another way")
      }
      var most = point.answer.union(held)
      for newer in points where newer.owner < point.owner { most.formUnion(newer.answer) }
      guard answer.isSubset(of: most) else { throw Finding("more is said to have changed than was merged") }
    }
  }
}

/// A merge over a chain's files in some state, whose power can end.
package final class MergeRun {
  private let chain: MergeChain
  let files: [RecordedFile]
  private let slots: [TrackingSlot]
  private let boot: GUID
  let power = PowerSupply()

  package init(_ chain: MergeChain, _ state: MergeState) {
    self.chain = chain
    boot = state.boot
    files = zip(state.files, state.modified).map { RecordedFile($0, modified: $1) }
    let first = state.records.map { RecordedFile($0) }
    let made = Made(first, power)
    self.made = made
    slots = first.enumerated().map { place, double in
      TrackingSlot(HostFile(path: "\(place).0", double: double)) { made.make(place) }
    }
    for file in files + first { file.connect(power) }
  }

  private let made: Made

  /// Every record file that was made, by disk and number.
  private final class Made: Sendable {
    let all: Mutex<[[RecordedFile]]>
    let power: PowerSupply
    init(_ first: [RecordedFile], _ power: PowerSupply) {
      all = Mutex(first.map { [$0] })
      self.power = power
    }
    func make(_ place: Int) -> HostFile {
      let double = RecordedFile()
      double.connect(power)
      let number = all.withLock { all in
        all[place].append(double)
        return all[place].count - 1
      }
      return HostFile(path: "\(place).\(number)", double: double)
    }
  }

  /// The record files that count now.
  var currentRecords: [RecordedFile] {
    slots.enumerated().map { place, slot in
      let number = Int(slot.file.path.split(separator: ".").last ?? "") ?? 0
      return made.all.withLock { $0[place][number] }
    }
  }

  /// Does it all, or until the power ends or `step` throws.
  package func run(_ step: (UInt64) throws(ImageError) -> Void = { _ in }) throws(ImageError) {
    let shape = chain.shape
    var options = TrackingOptions()
    options.isSoleWriter = shape.isSoleWriter
    options.regionShift = 18
    let merge = try ChainMerge(
      files: MergeChain.hostFiles(files), into: chain.depth,
      records: slots.prefix(chain.depth + 1).map { GivenTracking($0, boot: boot, options: options) })
    try merge.check()
    _ = try merge.bytesToCopy(step)
    try merge.run(step)
  }

  /// As a program finds it that is started when this one was killed.
  package var state: MergeState {
    MergeState(
      files: files.map(\.contents), modified: files.map(\.modified), records: currentRecords.map(\.contents),
      boot: boot)
  }

  /// As a machine finds it that was started anew after its power went.
  func stateAfterPowerCut(_ generator: inout SeededGenerator) -> MergeState {
    var state = state
    state.files = files.map { $0.crashState(&generator) }
    state.records = currentRecords.map { $0.crashState(&generator) }
    state.boot = .random()
    return state
  }
}
