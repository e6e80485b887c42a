import Storage

/// The survey of an NTFS volume: whether its bitmap can be believed, and how much it calls free.
///
/// All that is read here (boot sector, file table, log, root directory, bitmap) must be called used by the bitmap: free
/// space that is overwritten then changes nothing of what is read later.
struct NTFSSurvey {
  let space: NTFSSpace
  private(set) var freeBytes: UInt64 = 0

  init(_ volume: VolumeReader, bootSector: [UInt8]) throws(SurveyStop) {
    let boot = try NTFSBootSector(bootSector, volumeLength: volume.length)
    let table = try NTFSFileTable(boot, volume)
    try table.checkVolume()
    try table.checkLog()
    try table.checkHibernation()
    try NTFSShadowCopies.check(volume)
    guard let bitmap = try table.stream(.data, of: table.record(6)) else {
      throw .damaged("$Bitmap is missing")
    }
    space = try NTFSSpace(boot, bitmap)
    try countFree(volume, ownRuns: try NTFSSurvey.ownRuns(table, bitmap))
  }

  /// Clusters of what was read, ascending; none overlaps another.
  private static func ownRuns(_ table: NTFSFileTable, _ bitmap: NTFSStream) throws(SurveyStop) -> [Range<
    UInt64
  >] {
    let boot = table.boot
    // The boot sector's file is 8 KiB.
    var own = [
      0..<(8191 / boot.clusterSize + 1), boot.fileTableMirror..<(boot.fileTableMirror + 1),
    ]
    var runs = table.runs.runs + bitmap.runs
    runs += try table.stream(.data, of: table.record(2))?.runs ?? []
    runs += try table.stream(.indexAllocation, "$I30", of: table.record(5))?.runs ?? []
    for run in runs {
      if let start = run.start { own.append(start..<(start + run.count)) }
    }
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
