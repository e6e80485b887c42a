import Storage

/// One entry of the block table (2.5.1): a state in bits 0–2 and a place in bits 20–63, in MiB.
struct BlockTableEntry: RawRepresentable, Equatable {
  let rawValue: UInt64
  init(rawValue: UInt64) { self.rawValue = rawValue }

  /// What a payload block is (2.5.1.1). 4 and 5 are reserved.
  struct PayloadState: RawRepresentable, Equatable {
    let rawValue: UInt8
    /// Nothing here: the parent's, or zero without a parent.
    static let notPresent = PayloadState(rawValue: 0)
    /// Arbitrary contents; zero is shown. May keep its old place (a soft anchor).
    static let undefined = PayloadState(rawValue: 1)
    /// Zero; not the parent's.
    static let zero = PayloadState(rawValue: 2)
    /// Unmapped as a whole; zero is shown, not the parent's. May keep its old place (a soft anchor).
    static let unmapped = PayloadState(rawValue: 3)
    /// All of the block is at its place; bitmaps are not looked at.
    static let fullyPresent = PayloadState(rawValue: 6)
    /// The sector bitmap tells, sector by sector, whether this file or the parent has it. Differencing files only.
    static let partiallyPresent = PayloadState(rawValue: 7)
  }

  init(_ state: PayloadState, offset: UInt64 = 0) {
    rawValue = offset | UInt64(state.rawValue)
  }

  /// A sector bitmap block at `offset` (2.5.1.2): state 6, PRESENT.
  static func bitmap(offset: UInt64) -> BlockTableEntry { BlockTableEntry(.fullyPresent, offset: offset) }

  var state: PayloadState { PayloadState(rawValue: UInt8(truncatingIfNeeded: rawValue & 7)) }
  /// Bytes from the file's start; a multiple of 1 MiB.
  var offset: UInt64 { rawValue & ~0xF_FFFF }
  /// Bits that must be zero.
  var reservedBits: UInt64 { rawValue & 0xF_FFF8 }
}

/// How blocks, chunks and table entries lie to one another (2.5).
///
/// A chunk is the part of the disk whose sectors one bitmap block of 1 MiB can describe: 2^23 sectors. Its payload
/// blocks' entries come first, then the one of its bitmap block; bitmap entries stand (as 0) in files without a parent
/// too.
struct BlockTableGeometry {
  let virtualSize: UInt64
  let blockSize: UInt64
  let logicalSectorSize: UInt64
  /// Payload blocks of a chunk.
  let chunkRatio: UInt64
  let payloadBlocks: UInt64
  let chunks: UInt64
  let entries: UInt64

  /// The numbers must have been checked: a size in (0, 64 TiB], a block of 1–256 MiB, a sector of 512 or 4096 bytes.
  init(virtualSize: UInt64, blockSize: UInt64, logicalSectorSize: UInt64, isDifferencing: Bool) {
    self.virtualSize = virtualSize
    self.blockSize = blockSize
    self.logicalSectorSize = logicalSectorSize
    chunkRatio = (logicalSectorSize << 23) / blockSize
    payloadBlocks = (virtualSize + blockSize - 1) / blockSize
    chunks = (payloadBlocks + chunkRatio - 1) / chunkRatio
    entries = isDifferencing ? chunks * (chunkRatio + 1) : payloadBlocks + (payloadBlocks - 1) / chunkRatio
  }

  func payloadIndex(_ block: UInt64) -> UInt64 { block + block / chunkRatio }
  func bitmapIndex(chunk: UInt64) -> UInt64 { chunk * (chunkRatio + 1) + chunkRatio }
  func chunk(ofBlock block: UInt64) -> UInt64 { block / chunkRatio }
  /// Whether the entry is a bitmap block's.
  func isBitmap(index: UInt64) -> Bool { index % (chunkRatio + 1) == chunkRatio }

  /// Bytes of bitmap that describe one payload block.
  var bitmapBytesPerBlock: UInt64 { blockSize / logicalSectorSize / 8 }
  /// The disk's part of a block, which is less than a block at the end of the disk.
  func blockLength(_ block: UInt64) -> UInt64 { min(blockSize, virtualSize - block * blockSize) }
}
