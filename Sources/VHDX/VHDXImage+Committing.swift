import Storage
import Synchronization

/// Making changes durable.
///
///     payload ──▶ file ─┐
///                       ├─ flush ─▶ entry ─▶ log ─ flush ─▶ pages ─▶ their places
///     tables (cache) ───┘                                          (flushed by the next commit's first flush)
extension VHDXImage {
  public var hasUncommittedChanges: Bool { tables.withLock { $0.cache.dirtyCount > 0 } }
  public var wantsCommit: Bool { tables.withLock { $0.cache.dirtyCount >= Tables.commitThreshold } }

  public func commit() throws(ImageError) {
    // Many may ask at once: whoever comes to the turn after another has begun and ended its commit in the meantime
    // is served by that one.
    let request = commitRequests.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
    try committer.withLock { (committer) throws(ImageError) in
      if commitsDone.load(ordering: .sequentiallyConsistent) >= request { return }
      let served = commitRequests.load(ordering: .sequentiallyConsistent)
      try commit(&committer)
      commitsDone.store(served, ordering: .sequentiallyConsistent)
    }
    // What was asked for is durable: a host that has no room to punch a hole is no reason to say that it is not.
    try? reclaimRoom()
  }

  /// Commits everything that has completed, in as many rounds as its pages need entries.
  func commit(_ committer: inout Committer) throws(ImageError) {
    try failIfFailed()
    try apply(&committer)
    while true {
      let (pages, changes, flushedSize) = takeDirtyPages(&committer)
      // Payload first: a table must not speak of bytes that are not on stable storage. The same flush makes the
      // pages durable that the entry before put into their places, so that its room in the log is free.
      do throws(ImageError) {
        try flush()
      } catch {
        giveBack(pages)
        throw error
      }
      guard !pages.isEmpty else {
        tables.withLock { $0.committedChanges = max($0.committedChanges, changes ?? 0) }
        return
      }
      do throws(ImageError) {
        try log(pages, flushedSize: flushedSize, &committer)
      } catch {
        giveBack(pages)
        throw error
      }
      committer.unapplied = pages
      try apply(&committer)
      if let changes {
        tables.withLock { $0.committedChanges = max($0.committedChanges, changes) }
        return
      }
    }
  }

  /// Takes as many changed pages as one entry holds, and, when those are all, the number of the last change in them;
  /// and the file's size now, which the flush that follows makes durable.
  ///
  /// The order makes every prefix of the rounds a sound file: bitmaps before the table that makes them count, and
  /// the table from its end on, because a bitmap block's entry stands behind those of the blocks that need it.
  private func takeDirtyPages(
    _ committer: inout Committer
  ) -> (pages: [LoggedPage], changes: UInt64?, fileSize: UInt64) {
    let limit = LogWriter.pagesPerEntry(logLength: UInt64(committer.current.header.logLength))
    let table = regions.blockTable.range
    return tables.withLock { tables in
      let keys = tables.cache.dirtyKeys()
      var ordered = keys.filter { !table.contains($0) }
      ordered += keys.filter { table.contains($0) }.reversed()
      var pages: [LoggedPage] = []
      for key in ordered.prefix(limit) {
        guard let slot = tables.cache.find(key) else { continue }
        pages.append(
          LoggedPage(
            fileOffset: key, contents: Array(UnsafeRawBufferPointer(start: slot, count: VHDXFormat.pageSize)))
        )
        tables.cache.hold(key)
      }
      return (pages, ordered.count <= limit ? tables.changes : nil, tables.space.fileSize)
    }
  }

  private func giveBack(_ pages: [LoggedPage]) {
    tables.withLock { tables in
      for page in pages { tables.cache.release(page.fileOffset, changesLost: true) }
    }
  }

  /// Writes an entry with `pages` and makes it durable; opens the log if this is the session's first.
  private func log(
    _ pages: [LoggedPage], flushedSize: UInt64, _ committer: inout Committer
  ) throws(ImageError) {
    let header = committer.current.header
    if !committer.logIsOpen && committer.logGUID.isZero {
      committer.logGUID = .random()
      committer.sequenceNumber = 0
    }
    // The two halves of the log take turns, so that the entry before stays whole while this one is written: a log that
    // is named but holds no whole entry is a damaged file.
    let position = committer.sequenceNumber % 2 == 0 ? 0 : UInt64(header.logLength) / 2
    let end = tables.withLock { $0.space.end }
    let entry = LogWriter.entry(
      pages, position: position, sequenceNumber: committer.sequenceNumber + 1, logGUID: committer.logGUID,
      flushedFileOffset: flushedSize / VHDXFormat.mebibyte * VHDXFormat.mebibyte,
      lastFileOffset: max(end, structuresEnd))
    defer { entry.deallocate() }
    try file.write(UnsafeRawBufferPointer(entry), at: header.logOffset + position)
    // The entry must be whole on stable storage before the first page of it goes to its place.
    try flush()
    committer.sequenceNumber += 1
    if !committer.logIsOpen {
      // Only now, with a whole entry in the log, may the header name it: a header that names an empty log is a
      // damaged file. The update flushes before it returns.
      let guid = committer.logGUID
      try committer.current.update(file, flush: flush) { $0.logGUID = guid }
      committer.logIsOpen = true
    }
  }

  /// Puts the pages of the newest entry into their places. They are in the log, so nothing is lost if this fails; it is
  /// tried again before anything else is logged.
  private func apply(_ committer: inout Committer) throws(ImageError) {
    while let page = committer.unapplied.last {
      try file.write(page.contents, at: page.fileOffset)
      tables.withLock { $0.cache.release(page.fileOffset) }
      committer.unapplied.removeLast()
    }
  }

  /// Gives room that blocks gave up, and that nobody can be using any more, back to the host and to new blocks.
  public func reclaimRoom() throws(ImageError) {
    let ranges = tables.withLock { (tables) -> [Range<UInt64>] in
      guard tables.space.hasReleased, tables.failure == nil else { return [] }
      gate.advance()
      gate.advance()
      return tables.space.takeReclaimable(epoch: gate.current, committed: tables.committedChanges)
    }
    for (index, range) in ranges.enumerated() {
      do throws(ImageError) {
        try file.punch(at: range.lowerBound, length: UInt64(range.count))
      } catch {
        // Nothing is lost by that; it is tried again later.
        tables.withLock { tables in
          for rest in ranges[index...] { tables.space.release(rest, epoch: gate.current, change: 0) }
        }
        throw error
      }
      tables.withLock { $0.space.addFree(range) }
    }
  }

  /// Flushes the file. After a failure nobody knows what it holds: no more writes.
  func flush() throws(ImageError) {
    do throws(ImageError) { try file.flush() } catch { throw fail(error) }
  }

  /// Notes that nothing can be known any more of what was written last; everything that would write fails from now on.
  private func fail(_ error: ImageError) -> ImageError {
    let failure = ImageError(
      .invalidState, errno: error.errno,
      "\(escaped(file.path)): flushing failed once, so it is read-only until it is opened anew; what was written since the "
        + "last flush may be lost", cause: error)
    tables.withLock { if $0.failure == nil { $0.failure = failure } }
    return failure
  }

  func failIfFailed() throws(ImageError) {
    if let failure = tables.withLock({ $0.failure }) { throw failure }
  }
}
