import Storage

/// One look at the whole block table: where the blocks end, which of them contradict each other or the
/// file, and which room between them is free.
struct TableScan: Sendable {
  /// Where the room of the last block ends, which can be behind the footer if a writer cut it; 0 without
  /// blocks.
  private(set) var blocksEnd: UInt64 = 0
  /// Where the first block's room begins; the largest number without blocks.
  private(set) var firstPlace: UInt64 = .max
  /// Blocks that have a place.
  private(set) var allocated: UInt64 = 0
  /// Blocks that lie on another block, ascending.
  private(set) var overlapping: [UInt64] = []
  /// Gaps between blocks; their contents are unknown.
  private(set) var gaps: [FileExtent] = []
  /// The first entry that cannot be right, overlaps included.
  private(set) var problem: ImageError?

  /// Tables with more entries than this are not scanned: such images (blocks below 256 KiB on the largest
  /// disk) are read entry by entry, and not written.
  static let mostBlocks: UInt64 = 1 << 23
  /// What is kept of gaps and overlaps at most.
  static let mostKept = 65536

  /// Reads the table of `file`. Every entry that is not free counts, in or out of the file.
  init(_ layout: BlockLayout, _ bounds: BlockBounds, _ file: HostFile) throws(ImageError) {
    // Sector and block number together, so that one sort of whole numbers orders the blocks by place.
    var blocks: [UInt64] = []
    let buffer = ByteBuffer(count: 1 << 16)
    var first: UInt64 = 0
    while first < layout.blockCount {
      let count = min(layout.blockCount - first, UInt64(buffer.bytes.count / 4))
      try file.read(into: buffer.slice(0..<Int(count * 4)), at: layout.tableOffset + first * 4)
      for index in 0..<count {
        let entry: UInt32 = buffer.readable.bigEndian(at: Int(index) * 4)
        if entry != BlockLayout.unallocated { blocks.append(UInt64(entry) << 32 | (first + index)) }
      }
      first += count
    }
    blocks.sort()
    allocated = UInt64(blocks.count)
    if let first = blocks.first { firstPlace = (first >> 32) * BlockLayout.sector }
    examine(blocks, layout, bounds, file)
  }

  private mutating func examine(
    _ blocks: [UInt64], _ layout: BlockLayout, _ bounds: BlockBounds, _ file: HostFile
  ) {
    var lastBlock: UInt64 = 0
    // Where the blocks end for what may be put behind them: a block takes its whole room, also the disk's
    // last one, though some writers cut the part that no disk byte lies in.
    var roomEnd: UInt64 = 0
    for item in blocks {
      let block = item & 0xFFFF_FFFF
      let extent = layout.extent(of: block, at: (item >> 32) * BlockLayout.sector)
      if problem == nil {
        do throws(ImageError) {
          try bounds.check(block, at: extent.offset, layout, file)
          if extent.end > bounds.end { throw bounds.outside(block, extent, file) }
        } catch {
          problem = error
        }
      }
      if extent.offset < blocksEnd {
        for one in [lastBlock, block] where overlapping.last != one && overlapping.count < TableScan.mostKept
        {
          overlapping.append(one)
        }
        if problem == nil { problem = TableScan.overlapError(block, lastBlock, layout, file) }
      } else if extent.offset < roomEnd {
        if problem == nil { problem = TableScan.overlapError(block, lastBlock, layout, file) }
      } else if roomEnd > 0, extent.offset - roomEnd >= layout.bitmapLength + layout.blockSize,
        gaps.count < TableScan.mostKept
      {
        gaps.append(FileExtent(offset: roomEnd, length: extent.offset - roomEnd))
      }
      if extent.end > blocksEnd {
        blocksEnd = extent.end
        lastBlock = block
      }
      roomEnd = max(roomEnd, extent.offset + layout.bitmapLength + layout.blockSize)
    }
    blocksEnd = roomEnd
    overlapping.sort()
  }

  /// Whether `block` shares its place with another.
  func isOverlapping(_ block: UInt64) -> Bool {
    if overlapping.isEmpty { return false }
    // With so many that not all were kept, none is trusted.
    return overlapping.count >= TableScan.mostKept || overlapping.contains(block)
  }

  /// Nothing is written where the table cannot be right.
  func failIfDamaged(_ file: HostFile) throws(ImageError) {
    guard let problem else { return }
    throw ImageError(
      problem.returnValue, errno: problem.errno,
      "\(escaped(file.path)): is read, but not written, because it is damaged", cause: problem)
  }

  static func overlapError(_ block: UInt64, _ other: UInt64, _ layout: BlockLayout, _ file: HostFile)
    -> ImageError
  {
    .damaged(
      file.path, at: layout.tableOffset + block * 4,
      "the block table puts blocks \(other) and \(block) on the same place in the file; the table is "
        + "damaged, and only the file's copy from before that helps")
  }
}
