import Storage

/// Blocks on their way to other places of the file.
///
/// A move: bitmap and data to room that no block has, flush, the table's entry, flush. A cut-off leaves the entry with the
/// old place or the new one (a sector of the table is written whole or not at all), and both hold the bytes: nothing is
/// put where a block was before that is durable. Many moves share the two flushes. Nobody else uses the image meanwhile.
extension BlockStore {
  /// Does the moves of a packing that was decided for this file as it is now. In a session only. `moved` is told what is
  /// committed: how many moves, and how many bytes.
  ///
  /// Errors: the host's; the monitor's; a block is not where it was. What was committed stays.
  ///
  /// - Parameter batch: bytes that share a commit.
  func pack(
    _ packing: BlockPacking, batch: UInt64, _ monitor: RelocationMonitor, moved: (UInt64, UInt64) -> Void
  ) throws(ImageError) {
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
    if let end = highestTarget(packing) { try makeRoom(upTo: end) }
    var next = 0
    while next < packing.moves.count {
      let first = next
      var bytes: UInt64 = 0
      repeat {
        bytes += roomLength
        next += 1
      } while next < packing.moves.count && !packing.moves[next].needsCommit && bytes < batch
      try move(packing.moves[first..<next], monitor)
      moved(UInt64(next - first), bytes)
    }
  }

  /// Copies some, one after the other; then makes the copies their places, with one commit for all.
  private func move(_ moves: ArraySlice<BlockMove>, _ monitor: RelocationMonitor) throws(ImageError) {
    var copied = 0
    var known: Range<UInt64> = 0..<0
    do throws(ImageError) {
      for move in moves {
        copied += 1
        try copy(from: place(move.from), to: place(move.to), &known, monitor)
      }
    } catch {
      // The table knows nothing of the copies; they need not reach the medium.
      for move in moves.prefix(copied) { try? file.punch(at: place(move.to), length: roomLength) }
      throw error
    }
    // The bitmaps lie elsewhere from now on; what is remembered by the new places is of earlier blocks.
    state.withLock { $0.tables.bitmaps.removeAll() }
    for move in moves { try relocate(UInt64(move.number), from: place(move.from), to: place(move.to)) }
    // Its first flush makes the copies durable before the table speaks of them: were an entry durable first, a crash
    // would show what lay there earlier.
    try commit()
  }

  private func place(_ sectors: UInt32) -> UInt64 { UInt64(sectors) * BlockLayout.sector }

  private func copy(
    from source: UInt64, to target: UInt64, _ known: inout Range<UInt64>, _ monitor: RelocationMonitor
  ) throws(ImageError) {
    try monitor.check()
    // What is a hole in the source is not copied.
    try file.punch(at: target, length: roomLength)
    // A writer may have cut what of the disk's last block no disk byte lies in.
    let end = state.withLock { $0.bounds.end }
    let length = min(roomLength, max(end, source) - source)
    try file.copy(from: source, to: target, length: length, known: &known) { (count) throws(ImageError) in
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
