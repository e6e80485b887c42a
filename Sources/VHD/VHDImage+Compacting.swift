import Storage

/// What compaction asks of an image with blocks; see `VHDXImage`, which has the same. A fixed image has no blocks.
extension VHDImage {
  /// Blocks of the disk; 0 in a fixed image.
  public var blockCount: UInt64 { blocks?.layout.blockCount ?? 0 }

  /// Where the room begins that a block has in the file; nil where it has none. Waits.
  public func room(ofBlock block: UInt64) throws(ImageError) -> UInt64? { try blocks?.room(ofBlock: block) }

  /// The next block at or after `block` that has room in the file; nil when there is none. Waits.
  public func nextBlockWithRoom(from block: UInt64) throws(ImageError) -> UInt64? {
    try blocks?.nextBlockWithRoom(from: block)
  }

  /// Takes the room of a block away: it reads as the parent does, or zero where there is none. In a session only.
  public func release(block: UInt64) throws(ImageError) { try blocks?.release(block: block) }

  /// How the file will be when the blocks that `isReleased` names have no room any more, and those that are left are packed,
  /// or (with `moves` false) stay. Changes nothing. Waits; the whole table is looked through.
  ///
  /// Errors: those of a session that begins: blocks share room, or lie outside of the file.
  ///
  /// - Parameter batch: bytes that are put aside at a time.
  public func packing(
    without isReleased: (UInt64) -> Bool, moves: Bool, batch: UInt64
  ) throws(ImageError) -> BlockPacking {
    if let blocks { return try blocks.packing(without: isReleased, moves: moves, batch: batch) }
    var packing = BlockPacking()
    packing.fileSize = try file.size()
    return packing
  }

  /// Does the moves of a packing that was decided for this file as it is now. In a session only. `moved` is told what is
  /// committed: how many moves, and how many bytes.
  ///
  /// - Parameter batch: bytes that share a commit.
  public func pack(
    _ packing: BlockPacking, batch: UInt64, _ monitor: RelocationMonitor, moved: (UInt64, UInt64) -> Void
  ) throws(ImageError) {
    try blocks?.pack(packing, batch: batch, monitor, moved: moved)
  }
}
