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

  func packing(without isReleased: (UInt64) -> Bool) throws(ImageError) -> BlockPacking {
    switch self {
    case .vhdx(let image): try image.packing(without: isReleased)
    case .vhd(let image): try image.packing(without: isReleased)
    case .raw(_, let size): BlockPacking(moves: 0, bytes: 0, fileSize: size)
    }
  }

  func pack(batch: UInt64, _ monitor: RelocationMonitor) throws(ImageError) -> BlockPacking {
    switch self {
    case .vhdx(let image): try image.pack(batch: batch, monitor)
    case .vhd(let image): try image.pack(batch: batch, monitor)
    case .raw(_, let size): BlockPacking(moves: 0, bytes: 0, fileSize: size)
    }
  }
}
