import Storage
import Synchronization

/// Making and dropping reference points.
extension ChangeTracker {
  /// From now on no change is noted: `note` answers `.held`. The caller then waits for the changes under way, makes
  /// the image durable, seals, and lets go.
  public func hold() { status.store(Status.held, ordering: .sequentiallyConsistent) }

  /// Lets changes go on.
  public func letGo() {
    let isRecording = state.withLock { state in
      !state.points.isEmpty && (state.failure == nil || isStrict && state.lost != nil)
    }
    status.store(isRecording ? Status.recording : Status.idle, ordering: .sequentiallyConsistent)
  }

  /// Errors: `.invalidParameter` for a name that cannot be a point's, or is taken.
  public func checkName(_ name: String) throws(ImageError) {
    guard ReferencePoint.isName(name) else {
      throw ImageError(
        .invalidParameter,
        "\(escaped(name)): a point's name has 1 to 64 letters, digits, dots, underscores and hyphens, and is not `parent`"
      )
    }
    guard !points.contains(where: { $0.name == name }) else {
      throw ImageError(
        .invalidParameter, errno: .fileExists, "\(escaped(name)): there is a point of this name already")
    }
  }

  /// Ends the open interval and names the moment. Durable when it returns; after an error there is no such point. The
  /// caller holds changes back, has waited for those under way, and has made the image durable.
  ///
  /// Errors: `.invalidParameter` for a name that cannot be one, or is taken; ENOSPC when there are 4096.
  public func seal(_ name: String, created: Int64) throws(ImageError) -> ReferencePoint {
    try keeping.withLock { (_) throws(ImageError) -> ReferencePoint in
      if let failure { throw failure }
      try checkName(name)
      let (points, interval, diskSize) = state.withLock {
        ($0.points, $0.header.interval, $0.header.diskSize)
      }
      guard points.count < TrackingFormat.mostPoints, interval < (1 << 24) - 1 else {
        throw ImageError(
          errno: .noSpace,
          "\(escaped(file.path)): has \(points.count) points, the most there can be; drop some")
      }
      try keepPresumed()
      // The bits of the interval that ends: from here on only blocks of the next are written.
      try flushRecord()
      // With no point before, nothing was recorded, and the open interval is empty: it is the new point's own.
      var next = points
      let opens = points.isEmpty ? interval : interval + 1
      if let last = next.indices.last {
        next[last].blocks = state.withLock { state in
          state.directory.count(in: next[last].firstInterval..<interval, andOpen: true)
        }
      }
      let point = ReferencePoint(
        name: name, id: ReferencePoint.newID(), created: created, diskSize: diskSize, firstInterval: opens)
      next.append(point)
      try write(next, interval: opens)
      return point
    }
  }

  /// Drops a point; its interval becomes part of that of the point before it, and that of the oldest is let go.
  /// Durable when it returns.
  ///
  /// Errors: unknown point.
  public func drop(_ limit: String) throws(ImageError) {
    try keeping.withLock { (_) throws(ImageError) in
      let dropped = try point(limit)
      var next = points
      guard let index = next.firstIndex(where: { $0.id == dropped.id }) else { return }
      next.remove(at: index)
      if index > 0, index < next.count {
        let span = next[index - 1].firstInterval..<next[index].firstInterval
        next[index - 1].blocks = state.withLock { $0.directory.count(in: span, andOpen: false) }
      }
      let interval = state.withLock { $0.header.interval }
      let oldest = next.first?.firstInterval ?? interval + 1
      if next.isEmpty {
        // The open interval's blocks go too: what is recorded next begins another.
        guard interval < (1 << 24) - 1 else {
          throw ImageError(
            errno: .noSpace, "\(escaped(file.path)): has no more intervals; reset change tracking")
        }
        try write([], interval: interval + 1)
        status.store(Status.idle, ordering: .sequentiallyConsistent)
      } else {
        try write(next, interval: interval)
      }
      free(before: oldest)
    }
  }

  /// Ends every point and the record for good. Durable when it returns.
  public func switchOff() throws(ImageError) {
    try keeping.withLock { (_) throws(ImageError) in
      // Twice, so that no header speaks of the points any more.
      for _ in 0..<2 { try updateHeader { $0.state = .off } }
      state.withLock { state in
        state.points = []
        state.failure = TrackingError.off(file.path)
      }
      status.store(Status.idle, ordering: .sequentiallyConsistent)
    }
  }

  /// Blocks of intervals before `oldest` are of no more use. The header that is durable by now says so: an entry of such an
  /// interval is free, whatever a power cut makes of the next one in its place.
  private func free(before oldest: UInt32) {
    state.withLock { state in
      let gone = state.directory.remove { $0.interval < oldest }
      state.directory.giveBack(gone.map(\.slot))
    }
  }

  /// Writes the catalogue that does not count, flushes, and makes it the one that counts.
  private func write(_ points: [ReferencePoint], interval: UInt32) throws(ImageError) {
    let length = points.count * TrackingFormat.recordSize
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: max(length, 1), alignment: 8)
    defer { bytes.deallocate() }
    for (index, point) in points.enumerated() {
      let start = index * TrackingFormat.recordSize
      point.encode(into: .init(rebasing: bytes[start..<(start + TrackingFormat.recordSize)]))
    }
    let part = UnsafeRawBufferPointer(rebasing: bytes[..<length])
    let (area, before) = state.withLock { (1 - $0.header.catalogue, $0.header.interval) }
    if length > 0 { try file.write(part, at: TrackingFormat.catalogueOffsets[Int(area)]) }
    // Whole before a header names it.
    try flushRecord()
    try updateHeader { header in
      header.catalogue = area
      header.pointCount = UInt32(points.count)
      header.catalogueChecksum = Checksum.of(part)
      if header.interval != interval { header.openBlocks = 0 }
      header.interval = interval
    } also: { state in
      state.points = points
      if interval != before {
        state.directory.endInterval(before)
        state.cache.removeAll()
      }
    }
  }
}
