/// Looks for a shorter history that fails too: steps are left out by halves, quarters and so on down to single ones
/// (delta debugging), then what is left is made simpler, until nothing helps any more or the tries are used up.
///
/// Any failure counts, not only one with the same words: what is short is worth more than what is the same.
package struct Shrinking {
  private let fails: (History) -> Bool
  /// How many histories may still be run. Tries and not seconds, so that the same seed gives the same answer.
  private var tries: Int

  package init(tries: Int, fails: @escaping (History) -> Bool) {
    self.tries = tries
    self.fails = fails
  }

  package mutating func shortest(_ history: History) -> History {
    var best = history
    while tries > 0 {
      let before = best
      best = withoutSteps(best)
      best = simpler(best)
      if best == before { break }
    }
    return best
  }

  private mutating func stillFails(_ history: History) -> Bool {
    guard tries > 0 else { return false }
    tries -= 1
    return fails(history)
  }

  private mutating func withoutSteps(_ history: History) -> History {
    var best = history
    var size = max(1, best.steps.count / 2)
    while tries > 0 {
      var hasShrunk = false
      // From the end: what comes last depends on what came first more than the other way round.
      var end = best.steps.count
      while end > 0, tries > 0 {
        let start = max(0, end - size)
        var shorter = best
        shorter.steps.removeSubrange(start..<end)
        if stillFails(shorter) {
          best = shorter
          hasShrunk = true
        }
        end = start
      }
      if size > 1 { size = max(1, size / 2) } else if !hasShrunk { break }
    }
    return best
  }

  private mutating func simpler(_ history: History) -> History {
    var best = history
    for index in best.steps.indices {
      var goesOn = true
      while goesOn, tries > 0 {
        goesOn = false
        for step in best.steps[index].simpler(best.shape) {
          var simpler = best
          simpler.steps[index] = step
          if stillFails(simpler) {
            best = simpler
            goesOn = true
            break
          }
        }
      }
    }
    if best.shape.tablePages != nil {
      var simpler = best
      simpler.shape.tablePages = nil
      if stillFails(simpler) { best = simpler }
    }
    return best
  }
}

extension Step {
  /// Steps that are like this one, but smaller, the simplest first.
  func simpler(_ shape: DiskShape) -> [Step] {
    var actions: [Action] = []
    switch action {
    case .read(let offset, let length):
      actions = Step.ranges(offset, length, shape).map { .read(offset: $0, length: $1) }
    case .write(let offset, let length):
      actions = Step.ranges(offset, length, shape).map { .write(offset: $0, length: $1) }
    case .writeZeros(let offset, let length):
      actions = Step.ranges(offset, length, shape).map { .writeZeros(offset: $0, length: $1) }
    case .zero(let offset, let length):
      actions = Step.ranges(offset, length, shape).map { .zero(offset: $0, length: $1) }
    case .reopen: actions = [.close]
    case .close: actions = [.flush]
    case .powerCutDuring(let changes):
      actions =
        (changes > 0
          ? [.powerCut, .powerCutDuring(changes: changes / 2), .powerCutDuring(changes: changes - 1)]
          : [])
    case .killDuring(let changes):
      actions =
        changes > 0 ? [.kill, .killDuring(changes: changes / 2), .killDuring(changes: changes - 1)] : []
    case .powerCut: actions = [.kill]
    case .child(let blockSize, let growth):
      if growth > 0 { actions = [.child(blockSize: blockSize, growth: 0)] }
      if blockSize != shape.blockSize { actions.append(.child(blockSize: shape.blockSize, growth: growth)) }
    case .dropPoint(let place) where place > 0: actions = [.dropPoint(0)]
    case .foreignWrite(let offset, let length):
      actions = Step.ranges(offset, length, shape).map { .foreignWrite(offset: $0, length: $1) }
    case .compact(let mode, let offset, let length):
      actions = Step.ranges(offset, length, shape).map { .compact(mode: mode, offset: $0, length: $1) }
      if length > 0 { actions.insert(.compact(mode: mode, offset: 0, length: 0), at: 0) }
    case .merge(let depth) where depth > 0: actions = [.merge(depth: 0)]
    case .flush, .maintain, .kill, .merge, .readParent, .point, .dropPoint: break
    }
    return actions.map { Step($0, seed: seed) } + (seed > 9 ? (1...4).map { Step(action, seed: $0) } : [])
  }

  private static func ranges(_ offset: Int, _ length: Int, _ shape: DiskShape) -> [(Int, Int)] {
    var result: [(Int, Int)] = []
    for unit in [shape.blockSize, 4096, shape.sectorSize] {
      if offset % unit != 0 { result.append((offset / unit * unit, length)) }
      if length > unit { result.append((offset, unit)) }
      if length > unit, length % unit != 0 { result.append((offset, length / unit * unit)) }
    }
    if offset >= shape.blockSize { result.append((offset % shape.blockSize, length)) }
    if length >= 2 * shape.sectorSize {
      let half = length / 2 / shape.sectorSize * shape.sectorSize
      result.append((offset, half))
      result.append((offset + length - half, half))
    }
    return result.filter { $0 != (offset, length) }
  }
}
