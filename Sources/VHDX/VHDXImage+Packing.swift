import Storage

/// Deciding where blocks and sector bitmaps lie when the file has no holes, before anything moves.
///
/// First those at the file's tail go into the lowest holes. Then the holes that are left, each smaller than what lies behind
/// it (a gap that another program left in front of the first block, the room of a sector bitmap among blocks), are closed
/// by sliding. Regions, log and headers stay where they are.
extension VHDXImage {
  /// What is copied for gaps is bounded by what it gives back; so many MiB are always copied.
  private static let mostCopied: UInt64 = 1024

  /// How the file will be when the blocks that `isReleased` names have no room any more, and those that are left are packed,
  /// or (with `moves` false) stay. Changes nothing. Waits; the whole table is looked through.
  ///
  /// Memory: 8 bytes a block, and 16 for each that moves.
  ///
  /// Errors: those of a session that begins: blocks share room, the file was cut or is too long.
  ///
  /// - Parameter batch: bytes that are put aside at a time.
  public func packing(
    without isReleased: (UInt64) -> Bool, moves: Bool, batch: UInt64
  ) throws(ImageError) -> BlockPacking {
    let end = tables.withLock { max($0.space.initialEnd, $0.space.end, $0.wholeFileSize) }
    try checkLength(end)
    if !isInSession { _ = try spaceInUse(below: end, inSession: false) }
    var layout = PackedLayout(fileSize: end, structures: structures)
    var units: [UInt64] = []
    try forEachUnit(without: isReleased) { index, place in
      layout.use(place..<(place + unitLength(index)))
      units.append((place / VHDXFormat.mebibyte) << 32 | index)
    }
    units.sort()
    var packing = BlockPacking()
    var gapsCost: UInt64 = 0
    if moves {
      moveTail(&units, &layout, &packing)
      gapsCost = closeGaps(units, behind: layout.structuresEnd, batch, &layout, &packing)
    }
    packing.movedBytes = packing.moves.reduce(0) { $0 + unitLength(UInt64($1.number)) }
    packing.fileSize = layout.end * VHDXFormat.mebibyte
    packing.unusedBytes = (layout.end - min(layout.usedCount, layout.end)) * VHDXFormat.mebibyte
    if packing.unusedBytes > 0 {
      packing.obstacle =
        !moves ? .nothingMoves : gapsCost > 0 ? .copying(gapsCost * VHDXFormat.mebibyte) : .structures
    }
    return packing
  }

  /// What moves at the file's tail goes into holes in front of it.
  private func moveTail(_ units: inout [UInt64], _ layout: inout PackedLayout, _ packing: inout BlockPacking)
  {
    // Where the file would end if all below were in use: what lies there or behind is to move.
    let limit = max(layout.structuresEnd, layout.usedCount)
    var bitmaps = TailMoves()
    var blocks = TailMoves()
    for number in units.indices.reversed() {
      let (place, index) = (units[number] >> 32, units[number] & 0xFFFF_FFFF)
      let length = unitLength(index) / VHDXFormat.mebibyte
      guard place + length > limit else { break }
      if geometry.isBitmap(index: index) {
        bitmaps.add(number, at: place, length, &layout)
      } else {
        blocks.add(number, at: place, length, &layout)
      }
    }
    for (number, hole) in bitmaps.pairs + blocks.pairs {
      let (place, index) = (units[number] >> 32, units[number] & 0xFFFF_FFFF)
      packing.moves.append(
        BlockMove(
          number: UInt32(truncatingIfNeeded: index), from: UInt32(place), to: UInt32(hole), needsCommit: false
        ))
      units[number] = hole << 32 | index
    }
    packing.moves.sort { $0.from < $1.from }
    units.sort()
    layout.end = units.last.map { ($0 >> 32) + unitLength($0 & 0xFFFF_FFFF) / VHDXFormat.mebibyte } ?? 0
  }

  /// Returns how many MiB would have to be copied for gaps that are left.
  private func closeGaps(
    _ units: [UInt64], behind start: UInt64, _ batch: UInt64, _ layout: inout PackedLayout,
    _ packing: inout BlockPacking
  ) -> UInt64 {
    let behind = units.filter { $0 >> 32 >= start }.map { unit in
      GapClosing.Unit(
        number: UInt32(truncatingIfNeeded: unit), place: unit >> 32,
        length: unitLength(unit & 0xFFFF_FFFF) / VHDXFormat.mebibyte)
    }
    let closing = GapClosing(
      alignment: 1, batch: batch / VHDXFormat.mebibyte, mostCopied: VHDXImage.mostCopied,
      limit: VHDXFormat.largestWrittenFile / VHDXFormat.mebibyte, placeAtEnd: { $0 })
    let closed = closing.close(behind, behind: start)
    packing.moves += closed.moves
    layout.end = closed.end
    return closed.copyingForGaps
  }

  /// Bytes that entry `index` of the block table speaks of.
  func unitLength(_ index: UInt64) -> UInt64 {
    geometry.isBitmap(index: index) ? VHDXFormat.mebibyte : blockSize
  }

  /// Everything that keeps its room and could lie elsewhere, in the table's order: its entry's index, and where it lies.
  /// Waits.
  private func forEachUnit(
    without isReleased: (UInt64) -> Bool, _ body: (_ index: UInt64, _ place: UInt64) -> Void
  ) throws(ImageError) {
    var block: UInt64 = 0
    while let next = try nextBlockWithRoom(from: block) {
      block = next + 1
      guard !isReleased(next), let place = try room(ofBlock: next) else { continue }
      body(geometry.payloadIndex(next), place)
    }
    for chunk in 0..<geometry.chunks {
      guard let place = try bitmapRoom(chunk: chunk), try isBitmapNeeded(chunk: chunk, without: isReleased)
      else {
        continue
      }
      body(geometry.bitmapIndex(chunk: chunk), place)
    }
  }
}

/// What moves from the tail, all of one length: the last of them is noted first.
private struct TailMoves {
  private var movers: [Int] = []
  private var holes: [UInt64] = []
  /// Holes are only taken: a search goes on where the last one ended.
  private var searched: UInt64 = 0

  mutating func add(_ mover: Int, at place: UInt64, _ length: UInt64, _ layout: inout PackedLayout) {
    guard let hole = layout.takeLowestHole(length, from: searched, below: place) else {
      searched = place
      return
    }
    searched = hole
    movers.append(mover)
    holes.append(hole)
  }

  /// The first goes to the first hole: what is read lies in order, and what is written. Each hole ends before the first.
  var pairs: [(mover: Int, hole: UInt64)] {
    zip(movers.reversed(), holes).map { (mover: $0, hole: $1) }
  }
}

/// Which MiB of the file have a use while its packing is decided.
private struct PackedLayout {
  private var used: SpaceUse
  let structuresEnd: UInt64
  /// How many MiB have a use.
  private(set) var usedCount: UInt64
  /// Behind all that has a use, in MiB.
  var end: UInt64 {
    get { max(lastEnd, structuresEnd) }
    set { lastEnd = newValue }
  }
  private var lastEnd: UInt64 = 0

  init(fileSize: UInt64, structures: [Range<UInt64>]) {
    used = SpaceUse(fileSize: fileSize)
    structuresEnd = (structures.map(\.upperBound).max() ?? 0) / VHDXFormat.mebibyte
    usedCount = 0
    for range in structures { use(range) }
  }

  mutating func use(_ range: Range<UInt64>) {
    _ = used.add(range)
    usedCount += UInt64(range.count) / VHDXFormat.mebibyte
    lastEnd = max(lastEnd, range.upperBound / VHDXFormat.mebibyte)
  }

  mutating func takeLowestHole(_ count: UInt64, from start: UInt64, below limit: UInt64) -> UInt64? {
    used.takeLowestFree(count, from: start, below: limit)
  }
}
