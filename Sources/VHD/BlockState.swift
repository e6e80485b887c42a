import Storage

/// What the lock of a block store guards.
struct BlockState: ~Copyable {
  let layout: BlockLayout
  var tables: BlockTables
  var bounds: BlockBounds
  /// The whole table was looked at, or is too large for that.
  private(set) var isScanned: Bool
  /// What that look found, if there are blocks that lie on each other. (Apart, so that reads copy nothing.)
  private var overlaps: TableScan?
  private var hasOverlaps = false
  var room = Room()
  var phase = Phase.reading

  enum Phase: Sendable {
    case reading, writing
    /// Writing is being finished: no new write is prepared, those under way are completed.
    case finishing
    /// Something failed after which nobody knows what the file holds: no more writes, for this reason.
    case refused(ImageError)
  }

  init(_ layout: BlockLayout, _ bounds: BlockBounds, tablePages: UInt64) {
    self.layout = layout
    self.bounds = bounds
    tables = BlockTables(layout, limit: tablePages)
    isScanned = layout.blockCount > TableScan.mostBlocks
  }

  mutating func note(_ scan: TableScan) {
    isScanned = true
    hasOverlaps = !scan.overlapping.isEmpty
    overlaps = hasOverlaps ? scan : nil
  }

  var isWriting: Bool {
    if case .writing = phase { true } else { false }
  }

  /// The run at `offset`, at most `limit` bytes, which stay inside the disk.
  mutating func locate(
    _ offset: UInt64, _ limit: UInt64, _ file: HostFile, _ source: PageSource
  ) throws(ImageError) -> Step<Run> {
    let block = offset >> layout.blockShift
    let page: UnsafeMutableRawPointer
    switch try tables.entryPage(of: block, file, source, forChange: false) {
    case .page(let found): page = found
    case .load(let offset, let length): return .load(offset: offset, length: length)
    case .cacheIsFull: return .commit
    }
    let entry = BlockTables.entry(of: block, in: page)
    if entry == BlockLayout.unallocated {
      return .done(Run(layout.isDifferencing ? .parent : .zero, length: emptyLength(offset, limit, page)))
    }
    guard isScanned else { return .scan }
    let place = try place(of: block, entry, file)
    let inBlock = offset & (layout.blockSize - 1)
    let dataOffset = place + layout.bitmapLength + inBlock
    var length = min(limit, layout.blockSize - inBlock)
    if !tables.full.contains(block) {
      length = min(length, layout.bitmapPageCoverage - inBlock % layout.bitmapPageCoverage)
      let page: UnsafeMutableRawPointer
      switch try tables.bits(of: inBlock, at: place, file, source, forChange: false) {
      case .page(let found): page = found
      case .load(let offset, let length): return .load(offset: offset, length: length)
      case .cacheIsFull: return .commit
      }
      let (bits, sectors) = tables.sectors(of: inBlock, length: length, in: page)
      let run = bits.run(from: sectors.lowerBound, end: sectors.upperBound)
      length = min(length, UInt64(run.count) * 512 - offset % 512)
      guard run.isSet else { return .done(Run(layout.isDifferencing ? .parent : .zero, length: length)) }
      tables.noteIfFull(block, bits)
    }
    // A file that was cut: what is left of the block can be read, the rest is an error and never zeros.
    guard dataOffset < bounds.end else {
      throw bounds.outside(block, layout.extent(of: block, at: place), file)
    }
    return .done(Run(.data, length: min(length, bounds.end - dataOffset), fileOffset: dataOffset))
  }

  /// Where an allocated block's bitmap begins, after making sure that it can be there.
  func place(of block: UInt64, _ entry: UInt32, _ file: HostFile) throws(ImageError) -> UInt64 {
    let place = UInt64(entry) * BlockLayout.sector
    try bounds.check(block, at: place, layout, file)
    if hasOverlaps, let overlaps, overlaps.isOverlapping(block) {
      throw overlaps.problem ?? TableScan.overlapError(block, block, layout, file)
    }
    return place
  }

  /// How far, up to `limit`, blocks without room reach from `offset`; looks no further than one page of the
  /// table.
  func emptyLength(_ offset: UInt64, _ limit: UInt64, _ page: UnsafeMutableRawPointer) -> UInt64 {
    var block = offset >> layout.blockShift
    var length = layout.blockSize - (offset & (layout.blockSize - 1))
    let pageEnd = min((block / 1024 + 1) * 1024, layout.blockCount)
    while length < limit, block + 1 < pageEnd,
      BlockTables.entry(of: block + 1, in: page) == BlockLayout.unallocated
    {
      block += 1
      length += layout.blockSize
    }
    return min(length, limit)
  }
}
