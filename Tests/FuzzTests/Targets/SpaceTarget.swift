import Storage

@testable import GuestLayout

extension FuzzTarget {
  /// The free space of a disk's file systems.
  static let space = FuzzTarget(
    name: "space", subject: "free space of the file systems in a disk: NTFS, ext2, ext3, ext4, swap",
    maximumLength: 32 << 10,
    run: { input in
      let disk = FuzzedSpace(SparseImage(decoding: input))
      guard let (survey, free) = try disk.freeRanges(overwritten: []) else { return }
      var sum: UInt64 = 0
      var last: UInt64?
      for range in free {
        try require(last.map { range.lowerBound > $0 } ?? true, "the range \(range) follows \(last ?? 0)")
        try require(
          survey.volumes.contains {
            $0.map != nil && $0.range.contains(range.lowerBound) && range.upperBound <= $0.range.upperBound
          },
          "the range \(range) lies in no volume whose free space is known")
        sum += range.upperBound - range.lowerBound
        last = range.upperBound
      }
      for volume in survey.volumes {
        try require(volume.range.upperBound <= survey.diskSize, "a volume leaves the disk")
        if case .known = volume.freeSpace { continue }
        try require(volume.map == nil, "a volume is said to be used, and is read")
      }
      try require(
        survey.hasDamagedBitmaps || sum == survey.freeBytes, "\(survey.freeBytes) free bytes are \(sum)")
      // Other bytes in all that is free: nothing else may be found then.
      guard let (again, others) = try disk.freeRanges(overwritten: free) else { return }
      try require(others == free, "what is free depends on what lies there")
      try require(again.freeBytes == survey.freeBytes, "how much is free depends on what lies there")
    },
    form: .file([.space]), seeds: { SeedVolumes.all.map { $0.encoded() } })
}

extension SpaceSurvey {
  fileprivate var hasDamagedBitmaps: Bool {
    volumes.contains { $0.notes.contains { $0.contains("damaged bitmaps") } }
  }
}

/// A disk that is read until the input has cost enough.
private struct FuzzedSpace {
  /// Bytes that are read at most, as a caller who gives up would have it.
  static let mostRead = 16 << 20
  static let mostRanges = 20_000

  let image: SparseImage

  init(_ image: SparseImage) { self.image = image }

  /// The survey and the ranges, of a disk in which some ranges hold other bytes; nil where it costs too much.
  func freeRanges(overwritten: [Range<UInt64>]) throws -> (SpaceSurvey, [Range<UInt64>])? {
    let state = State()
    let read: DiskReader = { (offset, count) throws(ImageError) in
      state.bytesRead += count
      guard state.bytesRead <= FuzzedSpace.mostRead else {
        throw ImageError(errno: .canceled, "that is enough")
      }
      let isInside = count >= 0 && UInt64(count) <= image.size && offset <= image.size - UInt64(count)
      guard isInside, count <= 4 << 20 else {
        state.isOutside = true
        return []
      }
      var bytes = image.bytes(at: offset, count: count)
      let end = offset + UInt64(count)
      for range in overwritten where range.lowerBound < end && range.upperBound > offset {
        for place in max(range.lowerBound, offset)..<min(range.upperBound, end) {
          bytes[Int(place - offset)] ^= 0x5A
        }
      }
      return bytes
    }
    let sectorSize: UInt32 = image.operations.first.map { $0.kind & 1 == 1 } ?? false ? 4096 : 512
    let survey = answer { () throws(ImageError) in
      try SpaceSurvey.read(diskSize: image.size, sectorSize: sectorSize, read: read)
    }
    try require(!state.isOutside, "bytes outside the disk, or too many at once, were asked for")
    guard let survey else { return nil }
    state.bytesRead = 0
    var cursor = FreeRangeCursor(survey, read: read)
    var ranges: [Range<UInt64>] = []
    var place: UInt64 = 0
    while true {
      let next: Range<UInt64>?
      do throws(ImageError) { next = try cursor.next(from: place) } catch { return nil }
      try require(!state.isOutside, "bytes outside the disk, or too many at once, were asked for")
      guard let next else { return (survey, ranges) }
      try require(
        next.lowerBound >= place && !next.isEmpty, "the range \(next) was answered from \(place) on")
      ranges.append(next)
      place = next.upperBound
      if ranges.count > FuzzedSpace.mostRanges { return nil }
    }
  }

  private final class State {
    var bytesRead = 0
    var isOutside = false
  }
}
