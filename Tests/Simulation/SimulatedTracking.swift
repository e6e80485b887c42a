import ChangeTracking
import Glibc
import Storage
import TestSupport
import VirtualDisk

/// The record of a simulated disk's changes, beside what it must hold.
struct SimulatedTracking {
  struct Point {
    var id: String
    /// What the disk read as at that moment.
    var contents: [UInt8]
    /// The units that were written since.
    var written: Set<Int> = []
    /// No power was cut since: nothing more than what was written may be reported.
    var isExact = true
  }

  static let granularity = 4096
  static let mostPoints = 4

  var file = RecordedFile()
  private(set) var boot = GUID.random()
  private let shape: DiskShape
  var power: PowerSupply
  var points: [Point] = []
  /// A point that was being made when the power went.
  var pending: Point?
  /// A point that was being dropped then.
  var dropping: String?
  var names = 0
  /// Another program writes, or wrote when the power went.
  var mayBeForeign = false

  init(_ shape: DiskShape, _ power: PowerSupply) {
    self.shape = shape
    self.power = power
    file.connect(power)
  }

  var options: TrackingOptions {
    var options = TrackingOptions()
    options.isSoleWriter = shape.isSoleWriter
    // So that small disks have several.
    options.regionShift = shape.blockSize % 3 == 1 ? 16 : 18
    return options
  }

  var given: GivenTracking {
    GivenTracking(HostFile(path: "leaf.tracking", double: file), boot: boot, options: options)
  }

  /// A VHD that was not closed says nothing of who wrote it.
  var refusesUnclean: Bool { shape.isVHD && !shape.isSoleWriter }

  mutating func note(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    let unit = SimulatedTracking.granularity
    let units = (range.lowerBound / unit)...((range.upperBound - 1) / unit)
    for index in points.indices { points[index].written.formUnion(units) }
  }

  /// What is left of the file, in a machine that was started anew.
  mutating func cutPower(_ generator: inout SeededGenerator) {
    cutPower(leaving: file.crashState(&generator))
  }

  /// All that was written is there, for a program that is started anew.
  mutating func kill() {
    file = RecordedFile(file.contents)
    file.connect(power)
  }

  mutating func cutPower(leaving contents: SparseBytes) {
    file = RecordedFile(contents)
    file.connect(power)
    boot = .random()
    for index in points.indices { points[index].isExact = false }
    pending?.isExact = false
  }
}

extension SimulatedDisk {
  /// Switches tracking on for a disk that is new.
  mutating func startTracking() throws {
    guard tracking != nil else { return }
    // The file that takes another's place has its name only when it is whole, which the doubles have not.
    restorePower()
    tracking?.mayBeForeign = false
    tracking?.points = []
    tracking?.pending = nil
    try disk.setTracking(.reset)
  }

  mutating func makePoint() throws {
    guard let record = tracking else { return }
    if record.points.count >= SimulatedTracking.mostPoints { try dropPoint(0) }
    tracking?.names += 1
    tracking?.pending = SimulatedTracking.Point(id: "", contents: expected.now)
    let point = try disk.makePoint("p\(tracking?.names ?? 0)")
    // What was written before is durable with it.
    try settle()
    takePending(point.id)
    try checkChanges("with the new point")
  }

  private mutating func takePending(_ id: String) {
    guard var new = tracking?.pending else { return }
    new.id = id
    tracking?.pending = nil
    tracking?.points.append(new)
  }

  mutating func dropPoint(_ place: Int) throws {
    guard let record = tracking, place < record.points.count else { return }
    tracking?.dropping = record.points[place].id
    try disk.dropPoint(record.points[place].id)
    tracking?.dropping = nil
    tracking?.points.remove(at: place)
    try checkChanges("with one point less")
  }

  /// Another program writes the image while nobody has it open.
  mutating func foreignWrite(_ seed: UInt64, _ range: Range<Int>) throws {
    // Who says that nobody else writes is believed.
    guard tracking != nil, !range.isEmpty, !(shape.isVHD && shape.isSoleWriter) else { return }
    let wasWriting = disk.isWriting
    try disk.finishWriting()
    if wasWriting { try settle() }
    tracking?.mayBeForeign = true
    let other = try open(file)
    let bytes = pattern(seed: seed, at: UInt64(range.lowerBound), count: range.count)
    expected.write(bytes, at: range.lowerBound)
    try other.write(bytes, at: range.lowerBound)
    try other.finishWriting()
    try settle()
    disk = try open(file, tracked: true)
    guard tracking?.points.isEmpty == false else { return try startTracking() }
    try checkChanges("after another program wrote")
    if tracking?.points.isEmpty == false { throw Finding("a write by another program is not noticed") }
  }

  /// Every change since each point is in the answer; and, where nothing went wrong, nothing else.
  mutating func checkChanges(_ when: String, mayRefuse: Bool = false) throws {
    guard let record = tracking else { return }
    let facts = try disk.trackingFacts()
    if let refusal = facts.refusal {
      guard mayRefuse || record.mayBeForeign, refusal.errno.rawValue == 116 else {
        throw Finding("\(when), changes: \(refusal)")
      }
      return try startTracking()
    }
    var known = facts.points.map(\.id)
    // A point, or the end of one, that was under way when the power went.
    if record.pending != nil, let id = known.last, !record.points.contains(where: { $0.id == id }) {
      takePending(id)
    }
    tracking?.pending = nil
    tracking?.points.removeAll { point in
      !known.contains(point.id) && (!point.isExact || point.id == record.dropping)
    }
    tracking?.dropping = nil
    known.sort()
    guard let points = tracking?.points, points.map(\.id).sorted() == known else {
      throw Finding("\(when), there are other points than were made")
    }
    for point in points { try check(point, when) }
  }

  private func check(_ point: SimulatedTracking.Point, _ when: String) throws {
    let changes = try disk.changes(since: point.id)
    let now = expected.now
    let unit = SimulatedTracking.granularity
    var position = 0
    while position < now.count {
      let next = try changes.next(from: UInt64(position), end: UInt64(now.count))
      let end = next.map { Int($0.lowerBound) } ?? now.count
      // What is not in the answer reads as it did.
      let isSame = now.withUnsafeBytes { now in
        point.contents.withUnsafeBytes { old in
          guard let one = now.baseAddress, let two = old.baseAddress else { return true }
          return memcmp(one + position, two + position, end - position) == 0
        }
      }
      if !isSame { throw Finding("\(when), a change between \(position) and \(end) is missed") }
      guard let next else { break }
      if point.isExact {
        let units = (Int(next.lowerBound) / unit)...((Int(next.upperBound) - 1) / unit)
        if let wrong = units.first(where: { !point.written.contains($0) }) {
          throw Finding("\(when), unit \(wrong) is said to have changed, and was not written")
        }
      }
      position = Int(next.upperBound)
    }
  }
}
