import Storage

/// Walks through the free ranges of a disk, in ascending order, with about 2 MiB of memory whatever the disk's size.
///
/// Asked in ascending order it reads each bitmap once. What it calls free it may be asked for again after those bytes
/// were overwritten: no structure that it reads is ever inside a free range. Not for two threads at once.
public struct FreeRangeCursor {
  private let volumes: [GuestVolume]
  private let read: DiskReader
  /// The volume that is being read.
  private var current: (index: Int, cursor: PieceCursor)?

  /// - Parameters:
  ///   - survey: of this disk, whose used bytes have not changed since.
  ///   - read: as for the survey.
  public init(_ survey: SpaceSurvey, read: @escaping DiskReader) {
    volumes = survey.volumes.filter { $0.map != nil }.sorted { $0.range.lowerBound < $1.range.lowerBound }
    self.read = read
  }

  /// The first free range that ends after `offset`, in bytes from the start of the disk; nil where nothing more is free.
  ///
  /// It begins at `offset` or later and is as long as it can be: the byte at its end is used. So
  /// `while let range = try cursor.next(from: place) { …; place = range.upperBound }` meets every free byte once.
  /// A long range takes as many reads as the bitmaps it spans; `read` ends that by throwing.
  public mutating func next(from offset: UInt64) throws(ImageError) -> Range<UInt64>? {
    var index = volumes.firstIndex { $0.range.upperBound > offset } ?? volumes.endIndex
    while index < volumes.endIndex {
      let start = volumes[index].range.lowerBound
      let wanted = offset > start ? offset - start : 0
      if var found = try run(inVolume: index, from: wanted) {
        while let more = try run(inVolume: index, from: found.upperBound, adjoining: true) {
          found = found.lowerBound..<more.upperBound
        }
        return (start + found.lowerBound)..<(start + found.upperBound)
      }
      index += 1
    }
    return nil
  }

  /// Bytes from the volume's start; not yet joined with the run that may follow it at once. With `adjoining`, only a run
  /// that begins at `offset`.
  private mutating func run(
    inVolume index: Int, from offset: UInt64, adjoining: Bool = false
  ) throws(ImageError) -> Range<UInt64>? {
    let volume = volumes[index]
    if case .ranges(let ranges)? = volume.map {
      // They do not touch each other.
      guard !adjoining, let range = firstRange(of: ranges, endingAfter: offset) else { return nil }
      return max(range.lowerBound, offset)..<range.upperBound
    }
    if current?.index != index {
      let reader = VolumeReader(range: volume.range, read: read)
      switch volume.map {
      case .ext(let geometry)?: current = (index, PieceCursor(geometry, reader))
      case .ntfs(let space)?: current = (index, PieceCursor(space, reader))
      default: return nil
      }
    }
    return try current?.cursor.next(from: offset, adjoining: adjoining)
  }

  private func firstRange(of ranges: [Range<UInt64>], endingAfter offset: UInt64) -> Range<UInt64>? {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound > offset { high = middle } else { low = middle + 1 }
    }
    return low < ranges.count ? ranges[low] : nil
  }
}
