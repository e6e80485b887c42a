import Storage

/// Deciding where blocks lie when the file has no holes, before anything moves.
///
/// First those at the file's tail go into the lowest holes, then the holes that are left, each smaller than a block, are
/// closed by sliding what lies behind them. Gaps below a page, which only align data, stay.
extension BlockStore {
  /// What is copied for gaps is bounded by what it gives back; so many sectors are always copied.
  private static let mostCopied: UInt64 = (1 << 30) / BlockLayout.sector

  /// What a block takes, its last sector included.
  var roomLength: UInt64 { layout.bitmapLength + layout.blockSize }

  /// How the file will be when the blocks that `isReleased` names have no room any more, and those that are left are packed,
  /// or (with `moves` false) stay. Changes nothing. Waits; the whole table is looked through.
  ///
  /// Memory: 8 bytes a block, at most 64 MiB, and 16 for each that moves.
  ///
  /// Errors: those of a session that begins: blocks share room, or lie outside of the file.
  ///
  /// - Parameter batch: bytes that are put aside at a time.
  func packing(
    without isReleased: (UInt64) -> Bool, moves wantsMoves: Bool, batch: UInt64
  ) throws(ImageError) -> BlockPacking {
    let bounds = state.withLock { $0.bounds }
    try TableScan(layout, bounds, file).failIfDamaged(file)
    var blocks = try blocksByPlace(without: isReleased)
    var packing = BlockPacking()
    var gapsCost: UInt64 = 0
    var end = max(layout.tablesEnd, blocks.last.map { roomEnd($0) } ?? 0)
    if wantsMoves {
      moveTail(&blocks, &packing)
      (end, gapsCost) = closeGaps(blocks, batch, &packing)
    }
    packing.movedBytes = UInt64(packing.moves.count) * roomLength
    let footer = try footerPlace(after: end, packing, bounds)
    packing.fileSize = footer + BlockLayout.sector
    let used: UInt64 = structuresLength(blocks) + UInt64(blocks.count) * roomLength
    packing.unusedBytes = footer - min(used, footer)
    if packing.unusedBytes > 0 {
      let isAlignment = packing.unusedBytes <= UInt64(blocks.count + 2) * (layout.dataAlignment - 1)
      packing.obstacle =
        isAlignment
        ? .alignment(layout.dataAlignment)
        : !wantsMoves ? .nothingMoves : gapsCost > 0 ? .copying(gapsCost * BlockLayout.sector) : .structures
    }
    return packing
  }

  /// Where the footer will be: the clean close puts it behind the last block, where that is a whole sector further in front
  /// than where it is.
  private func footerPlace(
    after end: UInt64, _ packing: BlockPacking, _ bounds: BlockBounds
  ) throws(ImageError) -> UInt64 {
    var footer = bounds.hasFooter ? bounds.end : bounds.end.roundedUp(to: BlockLayout.sector)
    if let behind = highestTarget(packing), behind > footer {
      footer = max(layout.footerPlace(after: behind), footer + BlockLayout.sector)
    }
    let place = layout.footerPlace(after: end)
    return place + BlockLayout.sector <= footer ? place : footer
  }

  /// Where the last of the rooms ends that blocks go to; nil when none moves.
  func highestTarget(_ packing: BlockPacking) -> UInt64? {
    packing.moves.map { UInt64($0.to) * BlockLayout.sector + roomLength }.max()
  }

  /// Sector and block number of every block that keeps its room, by their places: a sort of whole numbers orders them. Waits.
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

  /// Bytes of the file up to `tablesEnd` that are structures: all, but where another writer, or a change of the parent, put
  /// some of them among or behind the blocks.
  private func structuresLength(_ blocks: [UInt64]) -> UInt64 {
    guard let first = blocks.first.map({ ($0 >> 32) * BlockLayout.sector }), first < layout.tablesEnd else {
      return layout.tablesEnd
    }
    var front: UInt64 = 0
    var others: UInt64 = 0
    for extent in layout.reserved + layout.tables.dropFirst() {
      if extent.offset < first {
        front = max(front, extent.end)
      } else {
        others += extent.end - extent.offset
      }
    }
    return front + others
  }

  private func roomEnd(_ block: UInt64) -> UInt64 { (block >> 32) * BlockLayout.sector + roomLength }

  /// What moves at the file's tail goes into holes in front of it, behind all of the structures.
  private func moveTail(_ blocks: inout [UInt64], _ packing: inout BlockPacking) {
    var low = layout.tablesEnd
    var first = 0
    var last = blocks.count - 1
    var targets: [UInt64] = []
    while first <= last {
      let next = (blocks[first] >> 32) * BlockLayout.sector
      guard let place = place(from: low, before: next) else {
        low = max(low, next + roomLength)
        first += 1
        continue
      }
      targets.append(place)
      low = place + roomLength
      last -= 1
    }
    // The first goes to the first hole: what is read lies in order, and what is written.
    for (number, place) in zip((last + 1)..<blocks.count, targets) {
      let mover = blocks[number]
      packing.moves.append(
        BlockMove(
          number: UInt32(truncatingIfNeeded: mover), from: UInt32(mover >> 32),
          to: UInt32(place / BlockLayout.sector), needsCommit: false))
      blocks[number] = (place / BlockLayout.sector) << 32 | mover & 0xFFFF_FFFF
    }
    blocks.sort()
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

  /// Returns where the last block ends, and how many sectors would have to be copied for gaps that are left.
  private func closeGaps(
    _ blocks: [UInt64], _ batch: UInt64, _ packing: inout BlockPacking
  ) -> (end: UInt64, copyingForGaps: UInt64) {
    let sector = BlockLayout.sector
    let start = layout.tablesEnd.roundedUp(to: sector) / sector
    let (layout, length) = (layout, roomLength / sector)
    let units = blocks.map {
      GapClosing.Unit(number: UInt32(truncatingIfNeeded: $0), place: $0 >> 32, length: length)
    }
    let closing = GapClosing(
      alignment: layout.dataAlignment / sector, batch: batch / sector, mostCopied: BlockStore.mostCopied,
      limit: BlockLayout.largestFile / sector - 1,
      placeAtEnd: { layout.place(from: $0 * sector) / sector })
    let closed = closing.close(units, behind: start)
    packing.moves += closed.moves
    return (max(closed.end * sector, layout.tablesEnd), closed.copyingForGaps)
  }
}
