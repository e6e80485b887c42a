/// The places and sizes of a tracking file, version 1 (docs/tracking-format.md). Numbers are little-endian.
///
///     0 header │ 4096 header │ 8192 regions │ 20480 regions │ 1 MiB catalogue │ 2 MiB catalogue │ 4 MiB chunks …
///
/// What stands twice is written in turn: the older one is whole while the newer is written.
enum TrackingFormat {
  static let version: UInt32 = 1
  static let signature: UInt64 = 0x0074_6373_6664_6876  // "vhdfsct\0"
  static let blockSignature: UInt32 = 0x6B62_7476  // "vtbk"
  static let regionSignature: UInt32 = 0x6772_7476  // "vtrg"

  static let pageSize = 4096
  static let headerOffsets: [UInt64] = [0, 4096]
  static let regionOffsets: [UInt64] = [8192, 20480]
  static let catalogueOffsets: [UInt64] = [1 << 20, 2 << 20]
  static let catalogueLength = 1 << 20
  static let recordSize = 256
  /// Records that a catalogue has room for.
  static let mostPoints = catalogueLength / recordSize

  /// A fine bit stands for so many bytes of the disk (a power of two).
  static let granularityShift: UInt64 = 12
  static let granularity: UInt64 = 1 << granularityShift

  /// A chunk is a page of directory entries and the blocks that they describe.
  static let chunksOffset: UInt64 = 4 << 20
  static let entriesPerChunk: UInt64 = 512
  static let chunkSize = (entriesPerChunk + 1) * UInt64(pageSize)
  /// 32 GiB: a disk of 64 TiB changed from end to end in each of 16 intervals. What a file can make a reader keep in memory
  /// is bounded by it.
  static let mostChunks: UInt32 = 1 << 14
  /// Bytes. No format has larger disks.
  static let largestDisk: UInt64 = 1 << 50
  static let blockHeaderSize = 32
  /// Fine bits in a block.
  static let bitsPerBlock = UInt64((pageSize - blockHeaderSize) * 8)
  /// Blocks from this index on hold a bit for each region instead.
  static let firstCoarseIndex: UInt32 = 0x80_0000

  static let mostRegions: UInt64 = 65536
  static let mostCoarseBlocks = Int((mostRegions + bitsPerBlock - 1) / bitsPerBlock)
  private static let smallestRegionShift: UInt64 = 24
  /// What a file may say that a region's size is, as a power of two.
  static let regionShifts: ClosedRange<UInt64> = 12...40

  /// The size of a region as a power of two: at least 16 MiB, and at most 65,536 of them on the disk.
  static func regionShift(diskSize: UInt64) -> UInt64 {
    var shift = smallestRegionShift
    while regionCount(diskSize: diskSize, shift: shift) > mostRegions { shift += 1 }
    return shift
  }

  static func regionCount(diskSize: UInt64, shift: UInt64) -> UInt64 {
    (diskSize + (1 << shift) - 1) >> shift
  }

  /// The file's size with so many chunks.
  static func fileSize(chunks: UInt32) -> UInt64 { chunksOffset + UInt64(chunks) * chunkSize }

  static func entryOffset(_ slot: UInt32) -> UInt64 {
    chunksOffset + UInt64(slot) / entriesPerChunk * chunkSize + UInt64(slot) % entriesPerChunk * 8
  }

  static func blockOffset(_ slot: UInt32) -> UInt64 {
    chunksOffset + UInt64(slot) / entriesPerChunk * chunkSize
      + (UInt64(slot) % entriesPerChunk + 1) * UInt64(pageSize)
  }
}
