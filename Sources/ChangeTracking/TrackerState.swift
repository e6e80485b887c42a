import Storage

/// What a tracker knows. Lives in its `state` lock.
struct TrackerState: ~Copyable {
  /// 4 MiB of blocks; each covers 127 MiB of the disk.
  static let cachePages = 1024

  var header: TrackingHeader
  var headerSlot: Int
  var regionSlot: Int
  var points: [ReferencePoint]
  var directory: BlockDirectory
  /// Marked on stable storage: what writes may rely on.
  var marks: RegionMarks
  /// To be marked.
  var wanted: RegionMarks
  /// Written to since marks were last cleared.
  var touched: RegionMarks
  /// After a power cut, before the next session: regions that count as changed.
  var presumed: RegionMarks?
  /// Blocks of the open interval as they are in the file; never dirty, for each change is written at once.
  var cache = PageCache(pageSize: TrackingFormat.pageSize, capacity: cachePages)
  var isInSession = false
  var failure: ImageError?
  /// A flush that failed: bits may be gone that can still be read.
  var lost: ImageError?

  init(_ contents: TrackingContents) {
    header = contents.header
    headerSlot = contents.headerSlot
    regionSlot = contents.regionSlot
    points = contents.points
    directory = contents.directory
    let none = RegionMarks(contents.header)
    marks = contents.marks ?? none
    // The broken one may have been the newer.
    if contents.marks == nil { marks.sequence = max(.max / 2, contents.regionSequence + 1) }
    wanted = none
    touched = none
  }

  /// After a power cut: what is marked counts as changed; so does what a block that is not whole stood for, and all
  /// of the disk when it is not known what was marked.
  mutating func presumeChanges(_ file: HostFile, _ known: RegionMarks?) throws(ImageError) {
    var presumed = RegionMarks(header)
    if let known { presumed.formUnion(known) } else { presumed.insertAll() }
    let block = BitmapBlock()
    for (index, slot) in directory.open {
      let count = try file.readUpTo(block.bytes, at: TrackingFormat.blockOffset(slot))
      let isWhole =
        count == TrackingFormat.pageSize
        && BitmapBlock.isWhole(
          UnsafeRawBufferPointer(block.bytes), history: header.history, interval: header.interval,
          index: index)
      if isWhole { continue }
      damagedBlocks.append(index)
      guard index < TrackingFormat.firstCoarseIndex else {
        presumed.insertAll()
        continue
      }
      let start = UInt64(index) * TrackingFormat.bitsPerBlock * TrackingFormat.granularity
      let end = min(
        start + TrackingFormat.bitsPerBlock * TrackingFormat.granularity, header.diskSize)
      if start < end { for region in presumed.regions(start, end - start) { presumed.insert(region) } }
    }
    self.presumed = presumed
  }

  /// Blocks of the open interval that a power cut left in pieces; what they stood for is presumed.
  var damagedBlocks: [UInt32] = []
}
