import Storage
import TestSupport

/// Power cuts on a tracked disk: after each change and each flush of a history, of the image and of its tracking file
/// alike, every pair of states that the two could be left in. In each the image reads as it may, and no change is missed
/// in the answer for any point; a point that was made is there. A kill at that moment leaves an answer that is exact.
package struct TrackedCrash {
  package struct Totals: Sendable, Equatable, CustomStringConvertible {
    package var cuts = 0
    package var exhaustive = 0
    package var states = 0
    package init() {}
    package var description: String {
      "\(cuts) power cuts of tracked disks (\(exhaustive) exhaustive), \(states) states of both files"
    }
  }

  /// Where both files together have no more states, all are looked at.
  package var mostStates: Int
  package private(set) var totals = Totals()

  package init(mostStates: Int) { self.mostStates = mostStates }

  /// The kinds of disk.
  package static let shapes: [DiskShape] = [
    shape(isVHD: false, isFixed: false), shape(isVHD: false, isFixed: true),
    shape(isVHD: true, isFixed: false), shape(isVHD: true, isFixed: true),
    shape(isVHD: true, isFixed: false, isSoleWriter: true),
    shape(isVHD: true, isFixed: true, isSoleWriter: true),
  ]

  private static func shape(isVHD: Bool, isFixed: Bool, isSoleWriter: Bool = false) -> DiskShape {
    var shape = DiskShape(
      isVHD: isVHD, isFixed: isFixed, size: 512 << 10, blockSize: isVHD ? 64 << 10 : 1 << 20, sectorSize: 512)
    shape.isTracked = true
    shape.isSoleWriter = isSoleWriter
    return shape
  }

  /// Reaches each ordered step: a mark, a second one, bits, points between writes, marks cleared, points dropped, a close,
  /// a kill, and writing on after each.
  package static let steps: [Action] = [
    .point, .write(offset: 0, length: 4096), .write(offset: 300_000, length: 512), .flush,
    .write(offset: 8192, length: 4096), .point, .write(offset: 4096, length: 4096),
    .zero(offset: 0, length: 2048), .maintain, .maintain, .write(offset: 12288, length: 512), .dropPoint(0),
    .point, .write(offset: 0, length: 4096), .close, .write(offset: 300_000, length: 4096), .dropPoint(1),
    .dropPoint(0), .write(offset: 65536, length: 512), .point, .write(offset: 131_072, length: 512), .kill,
    .write(offset: 4096, length: 512), .point, .write(offset: 400_000, length: 512), .reopen,
    .write(offset: 0, length: 512),
  ]

  /// Throws what must not be.
  package mutating func run(_ shape: DiskShape, child: Bool = false) throws {
    var changes = 0
    while try cut(shape, child: child, after: changes) { changes += 1 }
  }

  /// False when the history ends before the power does.
  private mutating func cut(_ shape: DiskShape, child: Bool, after changes: Int) throws -> Bool {
    var disk = try SimulatedDisk(shape)
    disk.looksAtFlushes = false
    if child {
      try disk.perform(Step(.write(offset: 8192, length: 8192), seed: 41))
      try disk.perform(Step(.child(blockSize: shape.blockSize, growth: 0), seed: 41))
    }
    disk.losePower(after: changes)
    for (number, action) in TrackedCrash.steps.enumerated() {
      do {
        try disk.perform(Step(action, seed: UInt64(number * 4 + 1)))
      } catch let error as ImageError {
        guard error.chain.contains(where: { $0.errno == .ioError }) else { throw error }
        do {
          try lookAtStates(of: disk, seed: UInt64(changes))
        } catch {
          throw TestFailure(
            "\(shape)\(child ? ", child" : ""), power cut at change \(changes), during step \(number) "
              + "(\(Step(action, seed: 1))): \(error)")
        }
        return true
      }
    }
    return false
  }

  private mutating func lookAtStates(of disk: SimulatedDisk, seed: UInt64) throws {
    guard let tracking = disk.tracking else { return }
    totals.cuts += 1
    do { try disk.afterKill() } catch { throw TestFailure("killed then: \(error)") }
    let (image, record) = (disk.file.pending, tracking.file.pending)
    // Half of the states' number each, as a power of two.
    var budget = CrashBudget()
    budget.mostStates = mostStates
    var choices: [[CrashChoice]] = [[], []]
    var isExhaustive = true
    for (index, epoch) in [image, record].enumerated() {
      budget.sampledStates = 24
      isExhaustive = epoch.forEachChoice(budget, seed: seed) { choices[index].append($0) } && isExhaustive
    }
    let count = choices[0].count * choices[1].count
    var generator = SeededGenerator(seed: seed &+ 99)
    if count <= mostStates {
      if isExhaustive { totals.exhaustive += 1 }
      for one in choices[0] { for two in choices[1] { try look(at: one, two, image, record, disk) } }
    } else {
      for _ in 0..<mostStates {
        guard let one = choices[0].randomElement(using: &generator),
          let two = choices[1].randomElement(using: &generator)
        else { return }
        try look(at: one, two, image, record, disk)
      }
    }
  }

  private mutating func look(
    at one: CrashChoice, _ two: CrashChoice, _ image: RecordedEpoch, _ record: RecordedEpoch,
    _ disk: SimulatedDisk
  ) throws {
    totals.states += 1
    do {
      var after = try disk.afterPowerCut(leaving: image.state(one), record.state(two))
      // Some go on: the next session, a point, and a clean end.
      guard totals.states % 7 == 0 else { return }
      for (number, action) in [
        Action.write(offset: 20480, length: 512), .point, .write(offset: 0, length: 512), .reopen,
      ].enumerated() {
        try after.perform(Step(action, seed: UInt64(number * 4 + 3)))
      }
    } catch {
      throw TestFailure("of the image \(one), of its tracking file \(two): \(error)")
    }
  }
}
