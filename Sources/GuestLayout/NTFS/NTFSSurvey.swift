import Storage

/// The survey of an NTFS volume: whether its bitmap can be believed, and how much it calls free.
///
/// All that is read here, the whole file table and the bitmap must be called used by the bitmap: free space that is
/// overwritten then changes nothing of what is read later.
struct NTFSSurvey {
  let space: NTFSSpace
  private(set) var freeBytes: UInt64 = 0
  /// Whether it was last closed by a driver that shows in the log that it has the volume mounted.
  let showsMounts: Bool

  init(_ volume: VolumeReader, bootSector: [UInt8]) throws(SurveyStop) {
    let places = ReadPlaces()
    let boot = try NTFSBootSector(bootSector, volumeLength: volume.length)
    let table = try NTFSFileTable(boot, volume.recorded(in: places))
    try table.checkVolume()
    showsMounts = try table.checkLog() == .closed
    try table.checkHibernation()
    try NTFSShadowCopies.check(table.volume)
    guard let bitmap = try table.stream(.data, of: table.record(6)) else {
      throw .damaged("$Bitmap is missing")
    }
    space = try NTFSSpace(boot, bitmap)
    // The file of the boot sector is 8 KiB.
    places.add(0..<8192)
    places.add(boot.fileTableMirror * boot.clusterSize..<(boot.fileTableMirror + 1) * boot.clusterSize)
    let own = places.ranges.map { range in
      range.lowerBound / boot.clusterSize..<(range.upperBound - 1) / boot.clusterSize + 1
    }
    let runs = table.runs.runs + bitmap.runs
    let stored = runs.compactMap { run in run.start.map { $0..<$0 + run.count } }
    try countFree(volume, ownRuns: NTFSSurvey.merged(own + stored))
    if !showsMounts {
      var check = NTFSUseCheck(table, space)
      try check.run()
    }
  }

  var notes: [String] {
    showsMounts ? [] : ["it was last written by a driver that leaves no trace of a mount"]
  }

  /// Ascending; none overlaps another.
  private static func merged(_ own: [Range<UInt64>]) -> [Range<UInt64>] {
    var merged: [Range<UInt64>] = []
    for range in own.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = merged.last, last.upperBound >= range.lowerBound {
        merged[merged.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    return merged
  }

  private mutating func countFree(_ volume: VolumeReader, ownRuns: [Range<UInt64>]) throws(SurveyStop) {
    var cursor = PieceCursor(space, volume)
    var own = ownRuns[...]
    var place: UInt64 = 0
    while true {
      let found: Range<UInt64>?
      do throws(ImageError) { found = try cursor.next(from: place, adjoining: false) } catch {
        throw .unreadable(error)
      }
      guard let free = found else { return }
      freeBytes += free.upperBound - free.lowerBound
      let (first, end) = (free.lowerBound / space.clusterSize, free.upperBound / space.clusterSize)
      own = own.drop { $0.upperBound <= first }
      if let next = own.first, next.lowerBound < end {
        throw .damaged("the bitmap calls clusters free that hold the file system's structures")
      }
      place = free.upperBound
    }
  }
}
