import Storage

/// Ranges of a source in ascending order, those that touch made one.
struct MergedRanges {
  private let source: ChangesReport.Source
  private let limit: UInt64
  /// The end of the range that was given last; before the first, where the region begins.
  private(set) var end: UInt64
  /// Found while looking for the end of the one before it.
  private var ahead: Range<UInt64>?
  /// The source has no more.
  private var isAtEnd = false

  /// - Parameter region: bytes of the disk to which ranges are clipped.
  init(_ region: Range<UInt64>, _ source: @escaping ChangesReport.Source) {
    self.source = source
    limit = region.upperBound
    end = region.lowerBound
  }

  /// There is no range behind the one that was given last.
  var isExhausted: Bool { isAtEnd && ahead == nil }

  /// Nil after the last.
  mutating func next() throws(ImageError) -> Range<UInt64>? {
    let first: Range<UInt64>
    if let waiting = ahead {
      first = waiting
      ahead = nil
    } else if let found = try following(end) {
      first = found
    } else {
      return nil
    }
    var upper = first.upperBound
    while let range = try following(upper) {
      guard range.lowerBound <= upper else {
        ahead = range
        break
      }
      upper = max(upper, range.upperBound)
    }
    end = upper
    return first.lowerBound..<upper
  }

  private mutating func following(_ offset: UInt64) throws(ImageError) -> Range<UInt64>? {
    if isAtEnd { return nil }
    if offset < limit, let range = try source(offset, limit), !range.isEmpty { return range }
    isAtEnd = true
    return nil
  }
}
