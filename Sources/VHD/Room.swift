import Storage

/// The room for new blocks in a file that is being written. Everything it hands out reads as zero.
///
/// Freed places go this way: `freed` (the table in memory says so) → commit → `stable` (the file says so) →
/// when every operation that may have resolved to them has ended, and they were zeroed → `zeroed`.
struct Room: Sendable {
  /// New blocks go here or behind.
  var cursor: UInt64 = 0
  /// From `cursor` to here the file reads as zero.
  var zeroedEnd: UInt64 = 0
  /// Where the footer at the end of the file is.
  var footer: UInt64 = 0
  /// Zeroed places between blocks, of whole blocks.
  var zeroed: [UInt64] = []
  /// Stretches between blocks whose contents are not known.
  var gaps: [FileExtent] = []
  var freed: [UInt64] = []
  var stable: [(place: UInt64, epoch: UInt64)] = []
  /// Blocks that look empty since they were zeroed in pieces, and the gate's epoch at that time.
  var emptyCandidates: [(block: UInt64, epoch: UInt64)] = []
  /// Blocks that have a place.
  var allocated: UInt64 = 0
  /// Bytes that the file grows by next.
  var growth: UInt64 = Room.firstGrowth

  static let firstGrowth: UInt64 = 16 << 20
  static let largestGrowth: UInt64 = 512 << 20

  /// A place for one block, within reach of the table's sector numbers, or nil when room must be made first.
  mutating func take(_ layout: BlockLayout) -> UInt64? {
    if let place = zeroed.popLast() { return place }
    guard canTake(layout) else { return nil }
    let place = layout.place(from: cursor)
    cursor = place + layout.bitmapLength + layout.blockSize
    return place
  }

  func canTake(_ layout: BlockLayout) -> Bool {
    if !zeroed.isEmpty { return true }
    let place = layout.place(from: cursor)
    // A file may be longer than sector numbers reach; its blocks may not lie there.
    return place < BlockLayout.largestFile && place + layout.bitmapLength + layout.blockSize <= zeroedEnd
  }
}
