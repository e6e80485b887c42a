import Storage

/// Blocks on their way from the file's tail into holes further in front.
///
/// A move: bitmap and data to a hole, flush, the table's entry, flush. A cut-off leaves the entry with the old place or
/// the new one (a sector of the table is written whole or not at all), and both hold the bytes: nothing is put where a
/// block was before the cut of the file. Many moves share the two flushes. Nobody else uses the image meanwhile.
extension BlockStore {
  /// What a block takes, its last sector included.
  private var roomLength: UInt64 { layout.bitmapLength + layout.blockSize }

  /// Sector and block number of every block with room, by their places: a sort of whole numbers orders them. Waits.
  ///
  /// Memory: 8 bytes a block, at most 64 MiB.
  private func blocksByPlace(without isReleased: (UInt64) -> Bool) throws(ImageError) -> [UInt64] {
    var blocks: [UInt64] = []
    var block: UInt64 = 0
    while let next = try nextBlockWithRoom(from: block) {
      block = next + 1
      guard !isReleased(next), let place = try room(ofBlock: next) else { continue }
      blocks.append((place / BlockLayout.sector) << 32 | next)
    }
    blocks.sort()
    return blocks
  }

  /// Which blocks go where, the last first; and where the last one that stays, or comes, ends.
  private func moves(_ blocks: [UInt64]) -> (moves: [(block: UInt64, from: UInt64, to: UInt64)], end: UInt64)
  {
    var moves: [(block: UInt64, from: UInt64, to: UInt64)] = []
    var low = layout.tablesEnd
    var first = 0
    var last = blocks.count - 1
    var end = low
    while first <= last {
      let next = (blocks[first] >> 32) * BlockLayout.sector
      guard let place = place(from: low, before: next) else {
        low = max(low, next + roomLength)
        end = low
        first += 1
        continue
      }
      moves.append((blocks[last] & 0xFFFF_FFFF, (blocks[last] >> 32) * BlockLayout.sector, place))
      low = place + roomLength
      end = low
      last -= 1
    }
    return (moves, end)
  }

  /// A place for a block in the hole [low, next): where data are aligned as new blocks' are, unless fewer blocks would
  /// fit into the hole so.
  private func place(from low: UInt64, before next: UInt64) -> UInt64? {
    let tight = low.roundedUp(to: BlockLayout.sector)
    guard tight + roomLength <= next else { return nil }
    let aligned = layout.place(from: low)
    guard aligned + roomLength <= next else { return tight }
    return 1 + (next - aligned - roomLength) / layout.step >= (next - tight) / roomLength ? aligned : tight
  }

  /// What moving would come to if the blocks that `isReleased` names had no room any more. Changes nothing. Waits.
  func packing(without isReleased: (UInt64) -> Bool) throws(ImageError) -> BlockPacking {
    let (moves, end) = moves(try blocksByPlace(without: isReleased))
    return BlockPacking(
      moves: UInt64(moves.count), bytes: UInt64(moves.count) * roomLength,
      fileSize: layout.footerPlace(after: end) + BlockLayout.sector)
  }

  /// Moves blocks from the tail into the lowest holes until none fits. In a session only. Returns what was moved; it is
  /// committed when this returns or fails.
  ///
  /// - Parameter batch: bytes that share a commit.
  func pack(batch: UInt64, _ monitor: RelocationMonitor) throws(ImageError) -> BlockPacking {
    repeat { try commit() } while hasUncommittedChanges
    drain()
    // Holes are filled here: nobody else may hand them out, or make them zero later. What is left of them is found again
    // when writing begins the next time.
    state.withLock { state in
      state.room.zeroed = []
      state.room.gaps = []
      state.room.stable = []
      state.room.emptyCandidates = []
    }
    let (moves, end) = moves(try blocksByPlace(without: { _ in false }))
    var done = BlockPacking(moves: 0, bytes: 0, fileSize: layout.footerPlace(after: end) + BlockLayout.sector)
    var next = 0
    while next < moves.count {
      var copied: UInt64 = 0
      let first = next
      do throws(ImageError) {
        while next < moves.count, copied < batch {
          try copy(from: moves[next].from, to: moves[next].to, monitor)
          copied += roomLength
          next += 1
        }
      } catch {
        // The table knows nothing of the copies; they need not reach the medium.
        for move in moves[first...min(next, moves.count - 1)] {
          try? file.punch(at: move.to, length: roomLength)
        }
        throw error
      }
      // The bitmaps lie elsewhere from now on; what is remembered by the new places is of earlier blocks.
      state.withLock { $0.tables.bitmaps.removeAll() }
      for move in moves[first..<next] { try relocate(move.block, from: move.from, to: move.to) }
      // Its first flush makes the copies durable before the table speaks of them: were an entry durable first, a crash
      // would show what lay there earlier.
      try commit()
      done.moves += UInt64(next - first)
      done.bytes += copied
    }
    return done
  }

  private func copy(from source: UInt64, to target: UInt64, _ monitor: RelocationMonitor) throws(ImageError) {
    try monitor.check()
    // What is a hole in the source is not copied.
    try file.punch(at: target, length: roomLength)
    // A writer may have cut what of the disk's last block no disk byte lies in.
    let end = state.withLock { $0.bounds.end }
    let length = min(roomLength, max(end, source) - source)
    try file.copy(from: source, to: target, length: length) { (count) throws(ImageError) in
      monitor.copied(count)
      try monitor.check()
    }
    if length < roomLength { monitor.copied(roomLength - length) }
  }

  private func relocate(_ block: UInt64, from source: UInt64, to target: UInt64) throws(ImageError) {
    let file = file
    _ = try resolve(mayWait: true) { (state, answer) throws(ImageError) -> Step<Bool> in
      guard try state.mayChange() else {
        throw ImageError(
          .invalidState, "\(escaped(file.path)): is not being written, so no block can be moved")
      }
      switch try state.tables.entryPage(of: block, file, answer, forChange: true) {
      case .load(let offset, let length): return .load(offset: offset, length: length)
      case .cacheIsFull: return .commit
      case .page(let page):
        guard UInt64(BlockTables.entry(of: block, in: page)) * BlockLayout.sector == source else {
          throw .damaged(
            file.path, at: state.layout.tableOffset + block * 4,
            "the entry of block \(block) changed while the block was moved")
        }
        state.tables.setEntry(of: block, in: page, to: UInt32(target / BlockLayout.sector))
        return .done(true)
      }
    }
  }
}
