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

  /// What moving would come to if the blocks that `isReleased` names had no room any more. Changes nothing. Waits.
  public func packing(without isReleased: (UInt64) -> Bool) throws(ImageError) -> BlockPacking {
    if let blocks { return try blocks.packing(without: isReleased) }
    return BlockPacking(moves: 0, bytes: 0, fileSize: try file.size())
  }

  /// Moves blocks from the tail into the lowest holes until none fits. In a session only. Returns what was moved; it is
  /// committed when this returns or fails.
  ///
  /// - Parameter batch: bytes that share a commit.
  public func pack(batch: UInt64, _ monitor: RelocationMonitor) throws(ImageError) -> BlockPacking {
    if let blocks { return try blocks.pack(batch: batch, monitor) }
    return BlockPacking(moves: 0, bytes: 0, fileSize: try file.size())
  }
}
