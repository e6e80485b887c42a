import TestSupport

/// What a run does, from a seed: the shape of the disk and the steps. A value, so that parts of it can be left out.
package struct History: Sendable, Equatable, Codable {
  package var shape: DiskShape
  package var steps: [Step]

  package init(shape: DiskShape, steps: [Step]) {
    self.shape = shape
    self.steps = steps
  }

  /// `length`: steps behind those that make the parents.
  package init(kind: ChainKind, seed: UInt64, length: Int) {
    var generator = SeededGenerator(seed: seed &* 0x1_0001 &+ UInt64(kind.number))
    shape = DiskShape(kind, &generator)
    steps = []
    var maker = StepMaker(shape, generator)
    if kind.parentCount > 0 {
      let parents = Int.random(in: kind.parentCount...3, using: &maker.generator)
      // Some come later, on top of a history.
      let now = Int.random(in: 1...parents, using: &maker.generator)
      maker.latestDepth = parents
      for _ in 0..<now {
        for _ in 0..<Int.random(in: 1...6, using: &maker.generator) { steps.append(maker.change()) }
        steps.append(maker.child())
      }
    }
    for _ in 0..<length { steps.append(maker.any()) }
  }
}

extension History {
  /// Without steps that crash or make children: those before `before` make the disk, the rest is for a sweep of faults.
  package static func forFaults(kind: ChainKind, seed: UInt64, length: Int) -> (
    before: [Step], history: History
  ) {
    var history = History(kind: kind, seed: seed, length: length)
    let last = history.steps.lastIndex { if case .child = $0.action { true } else { false } } ?? -1
    // A child that comes late in the history has everything before it as its past.
    let isPast = last < history.steps.count / 2 ? last : -1
    let before = history.steps[...max(isPast, -1)].filter { !$0.action.isCrash }
    history.steps = history.steps[(isPast + 1)...].filter { !$0.action.isCrash && !$0.action.isChild }
    // Whose file fails must be told apart; and what is tracked is not what fails here.
    history.shape.isTracked = false
    // Every other one begins with a log to be replayed.
    guard seed % 2 == 0 else { return (Array(before), history) }
    let dirty = [
      Step(.write(offset: 0, length: history.shape.blockSize), seed: 1), Step(.flush, seed: 2),
      Step(.kill, seed: 3),
    ]
    return (Array(before) + dirty, history)
  }
}

extension Action {
  fileprivate var isCrash: Bool {
    switch self {
    case .kill, .killDuring, .powerCut, .powerCutDuring: true
    default: false
    }
  }

  fileprivate var isChild: Bool { if case .child = self { true } else { false } }
}

extension ChainKind {
  /// Its place among all, which seeds start from.
  package var number: Int { ChainKind.allCases.firstIndex(of: self) ?? 0 }
}

/// Makes random steps that fit a disk as the steps before leave it.
private struct StepMaker {
  var generator: SeededGenerator
  let shape: DiskShape
  var size: Int
  var blockSize: Int
  var depth = 0
  /// How many parents there may come to be.
  var latestDepth = 0

  init(_ shape: DiskShape, _ generator: SeededGenerator) {
    self.generator = generator
    self.shape = shape
    size = shape.size
    blockSize = shape.blockSize
  }

  private mutating func step(_ action: Action) -> Step {
    Step(action, seed: UInt64.random(in: 1..<100_000, using: &generator))
  }

  mutating func change() -> Step {
    let (offset, length) = range()
    switch Int.random(in: 0..<20, using: &generator) {
    case 0..<13: return step(.write(offset: offset, length: length))
    case 13, 14: return step(.writeZeros(offset: offset, length: length))
    default: return step(.zero(offset: offset, length: length))
    }
  }

  mutating func child() -> Step {
    depth += 1
    blockSize = DiskShape.blockSize(isVHD: shape.isVHD, &generator)
    let growth =
      Int.random(in: 0..<3, using: &generator) == 0
      ? Int.random(in: 1...300, using: &generator) * shape.sectorSize : 0
    size += growth
    return step(.child(blockSize: blockSize, growth: growth))
  }

  mutating func any() -> Step {
    if shape.isTracked, Int.random(in: 0..<8, using: &generator) == 0 { return tracking() }
    switch Int.random(in: 0..<100, using: &generator) {
    case 0..<57: return change()
    case 57..<60:
      let (offset, length) = range()
      return step(
        .compact(
          mode: Int.random(in: 0...4, using: &generator), offset: offset / 512 * 512,
          length: min(size, length * Int.random(in: 1...8, using: &generator)) / 512 * 512))
    case 60..<67:
      let (offset, length) = range()
      return step(.read(offset: offset, length: length))
    case 67..<78: return step(.flush)
    case 78..<82: return step(.close)
    case 82..<84: return step(.reopen)
    case 84..<88: return step(.maintain)
    case 88: return step(.kill)
    case 89, 90: return step(.killDuring(changes: Int.random(in: 0..<24, using: &generator)))
    case 91..<94: return step(.powerCut)
    case 94..<97: return step(.powerCutDuring(changes: Int.random(in: 0..<24, using: &generator)))
    default:
      if depth < latestDepth, Bool.random(using: &generator) { return child() }
      guard depth > 0 else { return step(.flush) }
      if Int.random(in: 0..<3, using: &generator) == 0 {
        let into = Int.random(in: 0..<depth, using: &generator)
        // The destination's own blocks are of another size; that of the places that are chosen need not be right.
        depth -= into + 1
        return step(.merge(depth: into))
      }
      let (offset, length) = range()
      return step(
        .readParent(depth: Int.random(in: 0..<depth, using: &generator), offset: offset, length: length))
    }
  }

  private mutating func tracking() -> Step {
    switch Int.random(in: 0..<12, using: &generator) {
    case 0..<8: return step(.point)
    case 8..<11: return step(.dropPoint(Int.random(in: 0..<4, using: &generator)))
    default:
      let (offset, length) = range()
      return step(.foreignWrite(offset: offset, length: length))
    }
  }

  /// Near the borders of blocks, and near places that were used before, most of the time.
  private mutating func range() -> (offset: Int, length: Int) {
    let sector = shape.sectorSize
    let blocks = (size + blockSize - 1) / blockSize
    let most = min(size, 3 << 19)
    var offset = 0
    var length = 1
    switch Int.random(in: 0..<10, using: &generator) {
    case 0:
      length = Int.random(in: 1..<sector, using: &generator)
      offset = Int.random(in: 0..<size, using: &generator)
    case 1, 2:
      length = Int.random(in: 1...8, using: &generator) * sector
      offset = place(blocks)
    case 3, 4:
      length = Int.random(in: 1...16, using: &generator) * 4096
      offset = place(blocks)
    case 5:
      let ahead = Int.random(in: 1...8, using: &generator) * sector
      offset = Int.random(in: 0..<blocks, using: &generator) * blockSize - ahead
      length = ahead + Int.random(in: 1...8, using: &generator) * sector
    case 6, 7:
      offset = Int.random(in: 0..<blocks, using: &generator) * blockSize
      length = Int.random(in: 1...3, using: &generator) * blockSize
    case 8:
      length = Int.random(in: 1...max(1, min(2 * blockSize, 300_000)), using: &generator)
      offset = Int.random(in: 0..<size, using: &generator)
    default:
      // The disk's end, whose block may be short.
      length = Int.random(in: 1...16, using: &generator) * 512
      offset = size - length
    }
    offset = max(0, min(offset, size - 1))
    return (offset, max(1, min(length, size - offset, most)))
  }

  /// One of a few places of a block, so that writes meet.
  private mutating func place(_ blocks: Int) -> Int {
    let block = Int.random(in: 0..<blocks, using: &generator)
    let sectors = max(1, min(blockSize / shape.sectorSize, 24))
    return block * blockSize + Int.random(in: 0..<sectors, using: &generator) * shape.sectorSize
  }
}
