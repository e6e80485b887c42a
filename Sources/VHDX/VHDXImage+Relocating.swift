import Storage

/// Blocks and sector bitmaps on their way from the file's tail into holes further in front.
///
/// A move: the bytes to a hole, flush, the table through the log. A cut-off leaves the table with the old place or the
/// new one, and both hold the bytes: the old room is free only when the new entry is durable. Many moves share a commit,
/// and so its flushes. Nobody else uses the image meanwhile; readers of other processes keep off by its lock.
extension VHDXImage {
  /// A block or a sector bitmap, and where it lies.
  struct Unit {
    var offset: UInt64
    /// Of its entry in the block table.
    var index: UInt64
    var length: UInt64
  }

  /// What moving would come to if the blocks that `isReleased` names had no room any more. Changes nothing. Waits.
  public func packing(without isReleased: (UInt64) -> Bool) throws(ImageError) -> BlockPacking {
    let end = tables.withLock { max($0.space.initialEnd, $0.wholeFileSize) }
    var used = SpaceUse(fileSize: end)
    for range in structures { _ = used.add(range) }
    try forEachUnit(without: isReleased) { unit in _ = used.add(unit.offset..<(unit.offset + unit.length)) }
    let limit = packedEnd(used.usedMebibytes)
    var packing = BlockPacking(moves: 0, bytes: 0, fileSize: min(end, limit))
    try forEachUnit(without: isReleased) { unit in
      guard unit.offset + unit.length > limit else { return }
      packing.moves += 1
      packing.bytes += unit.length
    }
    if packing.moves == 0 { packing.fileSize = max(used.end, structuresEnd) }
    return packing
  }

  /// Moves blocks from the tail into the lowest holes until none fits. In a session only; the whole table was looked through.
  /// Returns what was moved. What was moved is committed when this returns or fails.
  ///
  /// - Parameter batch: bytes that share a commit.
  public func pack(batch: UInt64, _ monitor: RelocationMonitor) throws(ImageError) -> BlockPacking {
    try commit()
    drain()
    try reclaimRoom()
    // Pages of bitmaps are known by where they lie, and bitmaps are going to lie elsewhere; all are in the file now.
    tables.withLock { tables in
      tables.space.returnReady()
      if tables.cache.dirtyCount == 0 { tables.cache.removeAll() }
    }
    let limit = tables.withLock { packedEnd($0.space.usedMebibytes) }
    var movers = try units { $0.offset + $0.length > limit }
    var done = BlockPacking(moves: 0, bytes: 0, fileSize: 0)
    while !movers.isEmpty {
      let moved = try moveBatch(&movers, batch, monitor)
      for unit in moved {
        done.moves += 1
        done.bytes += unit.length
      }
    }
    try closeGaps(batch: batch, monitor, &done)
    return done
  }

  /// Where the file would end if all below were in use: what lies there or behind is to move.
  private func packedEnd(_ usedMebibytes: UInt64) -> UInt64 {
    max(structuresEnd, usedMebibytes * VHDXFormat.mebibyte)
  }

  /// Copies the last of `movers` into holes, and commits that.
  private func moveBatch(
    _ movers: inout [Unit], _ batch: UInt64, _ monitor: RelocationMonitor
  ) throws(ImageError) -> [Unit] {
    try move(monitor) { (tables, bytes) throws(ImageError) in
      while let unit = movers.last, bytes < batch {
        movers.removeLast()
        if let hole = tables.space.takeLowest(unit.length, below: unit.offset) { return (unit, hole) }
      }
      return nil
    }.map(\.unit)
  }

  /// Copies what `next` names, one after the other, to the free room that it took for it; then makes that the unit's
  /// place, with one commit for all. `next` is told the bytes so far.
  func move(
    _ monitor: RelocationMonitor,
    next: (inout Tables, UInt64) throws(ImageError) -> (unit: Unit, target: UInt64)?
  ) throws(ImageError) -> [(unit: Unit, target: UInt64)] {
    var copies: [(unit: Unit, target: UInt64)] = []
    var bytes: UInt64 = 0
    do throws(ImageError) {
      while true {
        let found = try tables.withLock { (tables) throws(ImageError) in try next(&tables, bytes) }
        guard let found else { break }
        copies.append(found)
        try copy(found.unit, to: found.target, monitor)
        bytes += found.unit.length
      }
    } catch {
      // The tables know nothing of the copies: their room is as free as before, and need not reach the medium.
      for copy in copies { try? file.punch(at: copy.target, length: copy.unit.length) }
      tables.withLock { tables in
        for copy in copies { tables.space.addFree(copy.target..<(copy.target + copy.unit.length)) }
      }
      throw error
    }
    guard !copies.isEmpty else { return [] }
    for copy in copies { try relocate(copy.unit, to: copy.target) }
    // The first flush of the commit makes the copies durable, before the table speaks of them; the old rooms are given up
    // only after the entry is in the log.
    try commit()
    return copies
  }

  private func copy(_ unit: Unit, to hole: UInt64, _ monitor: RelocationMonitor) throws(ImageError) {
    try monitor.check()
    // What is a hole in the source is not copied.
    try file.punch(at: hole, length: unit.length)
    // The disk's last block may reach behind the file's end.
    let length = min(unit.length, max(try file.size(), unit.offset) - unit.offset)
    try file.copy(from: unit.offset, to: hole, length: length) { (count) throws(ImageError) in
      monitor.copied(count)
      try monitor.check()
    }
    if length < unit.length { monitor.copied(unit.length - length) }
  }

  private func relocate(_ unit: Unit, to target: UInt64) throws(ImageError) {
    _ = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> Void? in
      if let failure = tables.failure { throw failure }
      guard let entry = try entry(unit.index, &tables, access) else { return nil }
      guard entry.offset == unit.offset else {
        throw damagedEntry("entry \(unit.index) changed while its block was moved")
      }
      setEntry(unit.index, BlockTableEntry(entry.state, offset: target), &tables)
      tables.space.release(
        unit.offset..<(unit.offset + unit.length), epoch: gate.current, change: tables.changes)
      return ()
    }
  }

  /// Those that `isWanted` names, by their places. Waits.
  func units(where isWanted: (Unit) -> Bool) throws(ImageError) -> [Unit] {
    var found: [Unit] = []
    let none: (UInt64) -> Bool = { _ in false }
    try forEachUnit(without: none) { if isWanted($0) { found.append($0) } }
    return found.sorted { $0.offset < $1.offset }
  }

  /// Everything that has room and could lie elsewhere, in the table's order. Waits.
  private func forEachUnit(
    without isReleased: (UInt64) -> Bool, _ body: (Unit) -> Void
  ) throws(ImageError) {
    var block: UInt64 = 0
    while let next = try nextBlockWithRoom(from: block) {
      block = next + 1
      guard !isReleased(next), let place = try room(ofBlock: next) else { continue }
      body(Unit(offset: place, index: geometry.payloadIndex(next), length: blockSize))
    }
    for chunk in 0..<geometry.chunks {
      guard let place = try bitmapRoom(chunk: chunk) else { continue }
      body(Unit(offset: place, index: geometry.bitmapIndex(chunk: chunk), length: VHDXFormat.mebibyte))
    }
  }
}
