import Storage

extension VirtualDisk {
  /// Looks for what a compaction can give back. Changes nothing. Waits long: where zeros are looked for, every block with
  /// room is read, up to its first byte that matters.
  ///
  /// - Parameters:
  ///   - free: what no file system uses; modes that do not ask for that are given nothing.
  ///   - batch: bytes of blocks that are going to share a commit.
  ///
  /// Errors: those of reading the chain; those of a session that begins, where the image is damaged; the monitor's.
  public func planCompaction(
    _ choice: CompactionChoice, free: FreeRanges, batch: UInt64 = VirtualDisk.relocationBatch,
    _ monitor: CompactionMonitor
  ) throws(ImageError) -> CompactionPlan {
    var plan = try planReleases(choice, free, monitor)
    let released = plan.released
    // A fixed disk stays where it lies, also where another program left it blocks without room, or holes among them.
    let moves = choice.moves && leaf.compactedBlockSize != nil
    plan.packing = try leaf.packing(without: { released.contains($0) }, moves: moves, batch: batch)
    plan.settle(fileSize: try leaf.file.size())
    let bytes = plan.packing.movedBytes + plan.trimmedBytes
    if bytes > plan.expectedBytes { monitor.expect(bytes - plan.expectedBytes) }
    return plan
  }

  private func planReleases(
    _ choice: CompactionChoice, _ free: FreeRanges, _ monitor: CompactionMonitor
  ) throws(ImageError) -> CompactionPlan {
    guard let blockSize = leaf.compactedBlockSize else {
      return try planTrimming(choice, free, monitor)
    }
    var survey = CompactionSurvey(self, choice, free, blockSize: blockSize)
    try survey.run(monitor)
    var plan = survey.plan
    if choice.trims { try survey.addTrimmedPieces(to: &plan, monitor) }
    return plan
  }
}

/// Looks at the blocks that have room, in the disk's order.
struct CompactionSurvey {
  let disk: VirtualDisk
  let choice: CompactionChoice
  var free: FreeRanges
  let blockSize: UInt64
  let reader = VirtualDisk.ZeroReader()
  var plan: CompactionPlan

  init(
    _ disk: VirtualDisk, _ choice: CompactionChoice, _ free: FreeRanges, blockSize: UInt64
  ) {
    self.disk = disk
    self.choice = choice
    self.free = free
    self.blockSize = blockSize
    plan = CompactionPlan(choice, blockSize: blockSize, diskSize: disk.leaf.virtualSize)
  }

  mutating func run(_ monitor: CompactionMonitor) throws(ImageError) {
    let leaf = disk.leaf
    var block: UInt64 = 0
    if choice.scansForZeros {
      var count: UInt64 = 0
      while let next = try leaf.nextBlockWithRoom(from: block) {
        count += 1
        block = next + 1
      }
      monitor.expect(count * blockSize)
    }
    var estimate = MoveEstimate(blockSize)
    block = 0
    // A block may be large: it is told piece by piece that it was read.
    let (reader, blockSize) = (reader, blockSize)
    var (start, told) = (reader.count, UInt64(0))
    let steps = CompactionMonitor(expect: monitor.expect, advance: monitor.advance) { () throws(ImageError) in
      let read = min(reader.count - start, blockSize)
      if read > told { monitor.advance(read - told) }
      told = max(told, read)
      try monitor.check()
    }
    while let next = try leaf.nextBlockWithRoom(from: block) {
      block = next + 1
      (start, told) = (reader.count, 0)
      try monitor.check()
      let isKept = try !look(at: next, choice.scansForZeros ? steps : monitor)
      if choice.scansForZeros { monitor.advance(blockSize - told) }
      if choice.moves, let place = try leaf.room(ofBlock: next) {
        let moves = estimate.note(place: place, isKept: isKept)
        if choice.scansForZeros, moves > 0 { monitor.expect(moves * blockSize) }
      }
    }
    plan.expectedBytes = choice.scansForZeros ? estimate.moves * blockSize : 0
  }

  /// 16 bytes each.
  private static let mostParts = 1 << 20

  func range(of block: UInt64) -> Range<UInt64> {
    (block * blockSize)..<min((block + 1) * blockSize, disk.leaf.virtualSize)
  }

  /// What the leaf has of a block's range.
  private struct Holdings {
    var own: [Range<UInt64>] = []
    var parents: [Range<UInt64>] = []
  }

  private func holdings(_ range: Range<UInt64>) throws(ImageError) -> Holdings {
    var result = Holdings()
    var position = range.lowerBound
    while position < range.upperBound {
      let run = try disk.leaf.locate(position, limit: range.upperBound - position, mayWait: true)
      let part = position..<(position + run.length)
      switch run.kind {
      case .data, .logged: CompactionSurvey.append(part, to: &result.own)
      case .parent: CompactionSurvey.append(part, to: &result.parents)
      default: break
      }
      position = part.upperBound
    }
    return result
  }

  private static func append(_ range: Range<UInt64>, to list: inout [Range<UInt64>]) {
    if let last = list.last, last.upperBound == range.lowerBound {
      list[list.count - 1] = last.lowerBound..<range.upperBound
    } else {
      list.append(range)
    }
  }

  /// Decides about a block; true when it gives its room up.
  private mutating func look(at block: UInt64, _ monitor: CompactionMonitor) throws(ImageError) -> Bool {
    let range = range(of: block)
    let holdings = try holdings(range)
    if holdings.own.isEmpty {
      // Nothing of the room is read: an anchor, or a block whose sectors are all the parent's, or were never written.
      guard choice.usesTables else { return false }
      plan.released.insert(block)
      return true
    }
    let isFree = try free.covers(range)
    guard choice.scansForZeros || isFree else { return false }
    // First what decides: a used byte that is not zero keeps the block.
    if !isFree {
      guard try areZero(holdings.own, free: false, from: 0, monitor) else { return false }
    }
    if disk.leaf.hasZeroBlocks {
      var isZeroBelow = isFree
      if !isFree { isZeroBelow = try areZero(holdings.parents, free: false, from: 0, monitor) }
      if isZeroBelow {
        // ZERO, though a block of which the parent shows zeros as well could be handed back to it: it stays right whatever
        // becomes of the parent.
        plan.released.insert(block)
        plan.zeroed.insert(block)
        for ranges in [holdings.own, holdings.parents] {
          guard try areZero(ranges, free: true, from: 0, monitor) else {
            plan.changed.insert(block)
            break
          }
        }
        return true
      }
    }
    // What the leaf has reads as the parent does without it: as zero.
    for own in holdings.own where disk.leaf.isDifferencing {
      guard try disk.readsZero(own, from: 1, reader, check: monitor.check) else { return false }
    }
    plan.released.insert(block)
    if try !areZero(holdings.own, free: true, from: 0, monitor) {
      plan.changed.insert(block)
      if plan.changedParts.count < CompactionSurvey.mostParts {
        plan.changedParts += holdings.own
      } else {
        plan.changedParts.append(range)
      }
    }
    return true
  }

  /// Whether the free (or the used) parts of some ranges read as zero.
  private mutating func areZero(
    _ ranges: [Range<UInt64>], free isFree: Bool, from top: Int, _ monitor: CompactionMonitor
  ) throws(ImageError) -> Bool {
    for range in ranges {
      var rest = range
      while !rest.isEmpty {
        let piece = try free.piece(of: rest)
        if piece.isFree == isFree,
          try !disk.readsZero(piece.range, from: top, reader, check: monitor.check)
        {
          return false
        }
        rest = piece.range.upperBound..<rest.upperBound
      }
    }
    return true
  }
}

/// How many blocks will have to be moved, as far as is known while blocks are looked at one by one: as many as there
/// are holes among the first places, of which there are as many as blocks that stay. It only grows, by one a look.
struct MoveEstimate {
  private let blockSize: UInt64
  private var holes: [UInt64] = []
  private var first: UInt64?
  private var kept: UInt64 = 0
  private(set) var moves: UInt64 = 0

  init(_ blockSize: UInt64) { self.blockSize = blockSize }

  /// Returns how many moves more there are.
  mutating func note(place: UInt64, isKept: Bool) -> UInt64 {
    let base = first ?? place
    first = base
    let old = moves
    let position = place >= base ? (place - base) / blockSize : 0
    if isKept {
      if isHole(kept) { moves += 1 }
      kept += 1
    } else {
      let word = Int(position >> 6)
      guard word < 1 << 22 else { return 0 }
      if word >= holes.count { holes += [UInt64](repeating: 0, count: word - holes.count + 1) }
      if position < kept, !isHole(position) { moves += 1 }
      holes[word] |= 1 << (position & 63)
    }
    return moves - old
  }

  private func isHole(_ position: UInt64) -> Bool {
    let word = Int(position >> 6)
    return word < holes.count && holes[word] >> (position & 63) & 1 == 1
  }
}
