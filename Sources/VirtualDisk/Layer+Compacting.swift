import Storage
import VHD
import VHDX

/// What compaction asks of a file.
extension Layer {
  /// Bytes of a block; nil where the disk lies in the file as it is.
  var compactedBlockSize: UInt64? {
    switch self {
    case .vhdx(let image): image.isFixed ? nil : image.blockSize
    case .vhd(let image): image.blockSize
    case .raw: nil
    }
  }

  /// The format can say that a block is zero, whatever the parent shows.
  var hasZeroBlocks: Bool { if case .vhdx = self { true } else { false } }

  func nextBlockWithRoom(from block: UInt64) throws(ImageError) -> UInt64? {
    switch self {
    case .vhdx(let image): try image.nextBlockWithRoom(from: block)
    case .vhd(let image): try image.nextBlockWithRoom(from: block)
    case .raw: nil
    }
  }

  func room(ofBlock block: UInt64) throws(ImageError) -> UInt64? {
    switch self {
    case .vhdx(let image): try image.room(ofBlock: block)
    case .vhd(let image): try image.room(ofBlock: block)
    case .raw: nil
    }
  }

  func release(block: UInt64, _ how: BlockRelease) throws(ImageError) {
    switch self {
    case .vhdx(let image): try image.release(block: block, how)
    case .vhd(let image): try image.release(block: block)
    case .raw: break
    }
  }

  /// Returns how many sector bitmaps were given up. VHD keeps a block's bitmap with the block.
  func releaseUnusedBitmaps() throws(ImageError) -> UInt64 {
    if case .vhdx(let image) = self { try image.releaseUnusedBitmaps() } else { 0 }
  }

  /// How the file will be when the blocks that `isReleased` names have no room any more; `moves`: and the others are packed.
  func packing(
    without isReleased: (UInt64) -> Bool, moves: Bool, batch: UInt64
  ) throws(ImageError) -> BlockPacking {
    switch self {
    case .vhdx(let image): return try image.packing(without: isReleased, moves: moves, batch: batch)
    case .vhd(let image): return try image.packing(without: isReleased, moves: moves, batch: batch)
    case .raw(_, let size):
      var packing = BlockPacking()
      packing.fileSize = size
      return packing
    }
  }

  /// Does the moves of a packing; `moved` is told what is committed: how many moves, and how many bytes.
  func pack(
    _ packing: BlockPacking, batch: UInt64, _ monitor: RelocationMonitor, moved: (UInt64, UInt64) -> Void
  ) throws(ImageError) {
    switch self {
    case .vhdx(let image): try image.pack(packing, batch: batch, monitor, moved: moved)
    case .vhd(let image): try image.pack(packing, batch: batch, monitor, moved: moved)
    case .raw: break
    }
  }
}
