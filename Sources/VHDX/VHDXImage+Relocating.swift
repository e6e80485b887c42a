import Storage

/// Blocks and sector bitmaps on their way to other places of the file.
///
/// A move: the bytes to room that nothing has, flush, the table through the log. A cut-off leaves the table with the old place
/// or the new one, and both hold the bytes: the old room is free only when the new entry is durable. Many moves share a
/// commit, and so its flushes. Nobody else uses the image meanwhile; readers of other processes keep off by its lock.
extension VHDXImage {
  /// Does the moves of a packing that was decided for this file as it is now. In a session only; the whole table was looked
  /// through. `moved` is told what is committed: how many moves, and how many bytes.
  ///
  /// Errors: the host's; the monitor's; a place is not as it was. What was committed stays.
  ///
  /// - Parameter batch: bytes that share a commit.
  public func pack(
    _ packing: BlockPacking, batch: UInt64, _ monitor: RelocationMonitor, moved: (UInt64, UInt64) -> Void
  ) throws(ImageError) {
    try commit()
    drain()
    try reclaimRoom()
    // Pages of bitmaps are known by where they lie, and bitmaps are going to lie elsewhere; all are in the file now.
    tables.withLock { tables in
      tables.space.returnReady()
      if tables.cache.dirtyCount == 0 { tables.cache.removeAll() }
    }
    var next = 0
    while next < packing.moves.count {
      let first = next
      var bytes: UInt64 = 0
      repeat {
        bytes += unitLength(UInt64(packing.moves[next].number))
        next += 1
      } while next < packing.moves.count && !packing.moves[next].needsCommit && bytes < batch
      try move(packing.moves[first..<next], monitor)
      moved(UInt64(next - first), bytes)
    }
  }

  /// Copies some, one after the other; then makes the copies their places, with one commit for all.
  private func move(_ moves: ArraySlice<BlockMove>, _ monitor: RelocationMonitor) throws(ImageError) {
    var claimed: [Range<UInt64>] = []
    var relocated = 0
    var known: Range<UInt64> = 0..<0
    do throws(ImageError) {
      for move in moves {
        let target = try claim(move)
        claimed.append(target)
        try copy(from: place(move.from), to: target, &known, monitor)
      }
      for move in moves {
        try relocate(move)
        relocated += 1
      }
    } catch {
      // The table knows nothing of these copies: their room is as free as before, and need not reach the medium.
      for range in claimed[relocated...] {
        try? file.punch(at: range.lowerBound, length: UInt64(range.count))
        tables.withLock { $0.space.addFree(range) }
      }
      throw error
    }
    // The first flush of the commit makes the copies durable, before the table speaks of them; the old rooms are given up
    // only after the entry is in the log.
    try commit()
  }

  private func place(_ mebibytes: UInt32) -> UInt64 { UInt64(mebibytes) * VHDXFormat.mebibyte }

  /// Takes the room that a move goes to.
  private func claim(_ move: BlockMove) throws(ImageError) -> Range<UInt64> {
    let target = place(move.to)..<(place(move.to) + unitLength(UInt64(move.number)))
    if try tables.withLock({ (tables) throws(ImageError) in try tables.space.claim(target, file: file) }) {
      return target
    }
    // What a block gave up before is free only when the host could take it back.
    try reclaimRoom()
    guard try tables.withLock({ (tables) throws(ImageError) in try tables.space.claim(target, file: file) })
    else {
      throw ImageError(
        .failed,
        "\(escaped(file.path)): the room at \(target.lowerBound), where a block was to move, is not free; compact again"
      )
    }
    return target
  }

  private func copy(
    from source: UInt64, to target: Range<UInt64>, _ known: inout Range<UInt64>, _ monitor: RelocationMonitor
  ) throws(ImageError) {
    try monitor.check()
    let whole = UInt64(target.count)
    // What is a hole in the source is not copied.
    try file.punch(at: target.lowerBound, length: whole)
    // The disk's last block may reach behind the file's end.
    let length = min(whole, max(try file.size(), source) - source)
    try file.copy(from: source, to: target.lowerBound, length: length, known: &known) {
      (count) throws(ImageError) in
      monitor.copied(count)
      try monitor.check()
    }
    if length < whole { monitor.copied(whole - length) }
  }

  private func relocate(_ move: BlockMove) throws(ImageError) {
    let index = UInt64(move.number)
    let source = place(move.from)
    _ = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> Void? in
      if let failure = tables.failure { throw failure }
      guard let entry = try entry(index, &tables, access) else { return nil }
      guard entry.offset == source else {
        throw damagedEntry("entry \(index) changed while its block was moved")
      }
      setEntry(index, BlockTableEntry(entry.state, offset: place(move.to)), &tables)
      tables.space.release(
        source..<(source + unitLength(index)), epoch: gate.current, change: tables.changes)
      return ()
    }
  }
}
