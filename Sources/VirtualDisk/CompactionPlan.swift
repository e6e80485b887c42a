import Storage

/// What a compaction found that it can do; nothing of it was done.
public struct CompactionPlan: Sendable {
  public internal(set) var choice: CompactionChoice
  /// Blocks that give their room up.
  var released: BlockSet
  /// Those of them that become zero whatever the parent shows.
  var zeroed: BlockSet
  /// Those of them that hold other bytes than zeros now.
  var changed: BlockSet
  /// Of changed blocks that do not become zero as a whole, but are handed back to the parent: the ranges that turn into
  /// zero, ascending. Where they would be too many, one stands for a whole block.
  var changedParts: [Range<UInt64>] = []
  /// Ranges of the disk that are made zero in place, ascending.
  var trimmed: [TrimmedRange] = []
  /// How the blocks lie afterwards, and what moves for that.
  public internal(set) var packing = BlockPacking()
  /// Something is to be done; otherwise not a byte changes.
  public internal(set) var hasWork = false

  /// Bytes that the monitor was told to expect already for moving.
  var expectedBytes: UInt64 = 0

  struct TrimmedRange: Sendable {
    var range: Range<UInt64>
    /// It holds other bytes than zeros now.
    var isChange: Bool
  }

  private let blockSize: UInt64
  private let diskSize: UInt64

  /// - Parameter blockSize: 0 for a disk that lies in its file as it is.
  init(_ choice: CompactionChoice, blockSize: UInt64, diskSize: UInt64) {
    self.choice = choice
    self.blockSize = blockSize
    self.diskSize = diskSize
    let blocks = blockSize == 0 ? 0 : (diskSize + blockSize - 1) / blockSize
    released = BlockSet(below: blocks)
    zeroed = BlockSet(below: blocks)
    changed = BlockSet(below: blocks)
  }

  /// Blocks that give their room up.
  public var releasedCount: UInt64 { released.count }
  /// Bytes that are made zero in place.
  public var trimmedBytes: UInt64 { trimmed.reduce(0) { $0 + UInt64($1.range.count) } }

  /// Decides whether there is something to do; where there is not, the file stays as it is.
  ///
  /// - Parameter fileSize: bytes of the file now.
  mutating func settle(fileSize: UInt64) {
    let shrinks = choice.moves && packing.fileSize < fileSize
    hasWork = releasedCount > 0 || !trimmed.isEmpty || !packing.moves.isEmpty || shrinks
    guard !hasWork else { return }
    packing.unusedBytes += fileSize - min(packing.fileSize, fileSize)
    if packing.unusedBytes > 0, packing.obstacle == nil { packing.obstacle = .nothingMoves }
    packing.fileSize = fileSize
  }

  /// Something that is read now reads as zero afterwards.
  public var changesContents: Bool { changed.count > 0 || trimmed.contains { $0.isChange } }

  /// The ranges of the disk that read as zero afterwards, and hold something else now: blocks first, then pieces of
  /// others, each ascending.
  package var changedRanges: [Range<UInt64>] {
    var ranges: [Range<UInt64>] = []
    var block: UInt64 = 0
    while let next = changed.next(from: block) {
      if zeroed.contains(next) { ranges.append((next * blockSize)..<min((next + 1) * blockSize, diskSize)) }
      block = next + 1
    }
    return ranges + changedParts + trimmed.filter(\.isChange).map(\.range)
  }
}

/// What a compaction did.
public struct CompactionOutcome: Sendable {
  public var releasedBlocks: UInt64 = 0
  /// Sector bitmaps that no block needed any more.
  public var releasedBitmaps: UInt64 = 0
  public var movedBlocks: UInt64 = 0
  public var movedBytes: UInt64 = 0
  /// Bytes that were made zero in place, and their room given back to the host.
  public var trimmedBytes: UInt64 = 0

  public init() {}
}
