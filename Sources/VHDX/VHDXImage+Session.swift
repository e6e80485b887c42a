import Glibc
import Storage

/// A writing session: from the first change of the file to the clean close.
extension VHDXImage {
  public var isWriting: Bool { tables.withLock { $0.mayChange } }

  public var isInSession: Bool { tables.withLock { $0.isWriting } }

  public func beginWriting() throws(ImageError) {
    try beginWriting(fileWriteGUID: .random(), dataWriteGUID: .random())
  }

  /// The same with the identities that the file is to get, if a session begins.
  public func beginWriting(fileWriteGUID fileGUID: GUID, dataWriteGUID dataGUID: GUID) throws(ImageError) {
    try committer.withLock { (committer) throws(ImageError) in
      // Whoever waits to close notices, and leaves the session open.
      let goesOn = tables.withLock { tables -> Bool in
        tables.isFinishing = false
        return tables.isWriting
      }
      guard !goesOn else { return }
      try failIfFailed()
      try checkWritable(committer.current.header)
      // Blocks that share a place must be found before one of them is written; in a long table they are looked for in
      // the background, and until then no hole is used.
      let end = tables.withLock { max($0.space.initialEnd, $0.wholeFileSize) }
      try checkLength(end)
      let isAdopted = tables.withLock { $0.space.isAdopted }
      let isQuick = geometry.entries * 8 <= quickTableLength
      let used = isQuick && !isAdopted ? try spaceInUse(below: end, inSession: false) : nil
      // FileWriteGuid must be new before any other byte changes, DataWriteGuid before a reader can see a change;
      // both are durable when the update returns. A log to be replayed stays named.
      try committer.current.update(file, flush: flush) {
        $0.fileWriteGUID = fileGUID
        $0.dataWriteGUID = dataGUID
      }
      if let overlay = tables.withLock({ $0.overlay }) { try replay(overlay, &committer) }
      try tables.withLock { (tables) throws(ImageError) in
        tables.fileWriteGUID = fileGUID
        tables.dataWriteGUID = dataGUID
        // What a log says of the file's size is kept, whoever wrote it.
        let leastSize = tables.overlay?.lastFileOffset ?? 0
        if let overlay = tables.overlay {
          tables.space = SpaceMap(fileSize: max(tables.space.fileSize, overlay.lastFileOffset))
          tables.overlay = nil
        }
        if let used {
          tables.space.adopt(used: used)
          // What a program that was killed had grown the file by: new room behind the blocks would keep it for ever.
          // Without it the file is only longer than it need be.
          try? cutRoomAtEnd(notBelow: leastSize, &tables)
        }
        if tables.space.isAdopted {
          try tables.space.completeLastMebibyte(file)
        } else {
          // An optional region may be said to lie behind the file's end.
          tables.space.keepClear(below: structuresEnd)
          try keepLastBlockClear(&tables)
        }
        if let copy = damagedRegionTable { try mendRegionTable(copy, &tables) }
        tables.isWriting = true
      }
    }
  }

  /// Some writers leave the last block of a disk as short as the disk, so that it reaches beyond the file. Before the
  /// whole table was looked through, new room must keep clear of it all the same.
  private func keepLastBlockClear(_ tables: inout Tables) throws(ImageError) {
    guard let entry = try entry(geometry.payloadIndex(geometry.payloadBlocks - 1), &tables, .waiting),
      entry.state == .fullyPresent || entry.state == .partiallyPresent,
      entry.offset <= tables.space.fileSize
    else { return }
    tables.space.keepClear(below: entry.offset + blockSize)
  }

  /// See `FormatImage.finishWriting`. When writing begins again meanwhile, it is a commit.
  public func finishWriting() throws(ImageError) {
    // A close that failed is no close that succeeded.
    guard tables.withLock({ $0.isWriting }) else { return try failIfFailed() }
    do throws(ImageError) {
      try commit()
      tables.withLock { $0.isFinishing = true }
      // What is on its way may still change tables, and may need a commit for that: no lock is held meanwhile.
      drain()
      try committer.withLock { (committer) throws(ImageError) in
        guard try endSession(&committer) else { return }
        // Room that could not be given back is no reason to keep the rest.
        try? reclaimRoom()
        try cutUnusedRoom()
      }
    } catch {
      tables.withLock { $0.isFinishing = false }
      throw error
    }
  }

  /// Commits what is left and gives the log up; false when writing began again meanwhile.
  private func endSession(_ committer: inout Committer) throws(ImageError) -> Bool {
    while true {
      try commit(&committer)
      // Whoever changes a table after this begins a new session.
      let isClosed = tables.withLock { (tables) -> Bool? in
        guard tables.isFinishing else { return nil }
        guard tables.cache.dirtyCount == 0 else { return false }
        tables.isWriting = false
        tables.isFinishing = false
        return true
      }
      guard let isClosed else { return false }
      if isClosed { break }
    }
    do throws(ImageError) {
      // The pages of the last entry must be durable in their places before the header gives up the log.
      if committer.logIsOpen { try flush() }
      // Twice, so that both headers are fresh (2.2.2).
      for _ in 0..<2 {
        try committer.current.update(file, flush: flush) { $0.logGUID = .zero }
        committer.logIsOpen = false
        committer.logGUID = .zero
      }
    } catch {
      // The session is not over: a later close tries again. Whether the header names the log is not known, so a later
      // entry counts only when it has been named again.
      committer.logIsOpen = false
      tables.withLock { $0.isWriting = true }
      throw error
    }
    return true
  }

  public func drain() {
    let target = gate.current + 2
    // Under the lock, because steps of the epoch must take turns.
    while tables.withLock({ _ in gate.advance() }) < target { usleep(100) }
  }

  /// Unused room at the end goes back to the host. Only without a live log: an entry's FlushedFileOffset would say
  /// that the file was cut.
  private func cutUnusedRoom() throws(ImageError) {
    try tables.withLock { (tables) throws(ImageError) in
      if !tables.isWriting { try cutRoomAtEnd(notBelow: 0, &tables) }
    }
    // Nothing relies on the cut, but a closed file is to have its size for good: another program may grow it next.
    try flush()
  }

  /// Cuts free room at the end off. No entry of the log may count, and nobody may be writing.
  private func cutRoomAtEnd(notBelow least: UInt64, _ tables: inout Tables) throws(ImageError) {
    let oldEnd = tables.space.end
    guard let size = tables.space.cut(notBelow: least) else { return }
    do throws(ImageError) {
      try file.resize(to: size)
    } catch {
      tables.space.didNotCut(backTo: oldEnd)
      throw error
    }
    tables.space.didCut(to: size)
  }

  /// - Parameter end: where the file ends, what its log says included.
  func checkLength(_ end: UInt64) throws(ImageError) {
    guard end <= VHDXFormat.largestWrittenFile else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): is, or by its log would be, \(end) bytes long; files of more than 256 TiB are read, "
          + "not written. Copy the disk to a new image")
    }
  }

  private func checkWritable(_ header: Header) throws(ImageError) {
    guard file.isWritable else {
      throw ImageError(
        .invalidState, errno: .readOnlyFileSystem, "\(escaped(file.path)): was opened for reading only")
    }
    // Each session makes a handful of headers; one that ran out of numbers half-way could not be closed.
    guard header.sequenceNumber < UInt64.max - 1000 else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): the header's sequence number cannot grow any more; copy the disk to a new image"
      )
    }
    let log = header.logOffset..<(header.logOffset + UInt64(header.logLength))
    guard UInt64(header.logLength) >= VHDXFormat.mebibyte, log.upperBound <= (try file.size()),
      !regions.regions.contains(where: { $0.range.overlaps(log) })
    else {
      throw .damaged(
        file.path, at: VHDXFormat.headerOffsets[0],
        "the log has no usable place, so nothing can be changed safely; copy the disk to a new image")
    }
  }

  /// Brings what the log says into the file. Idempotent: a crash in the middle leaves the log named, and the next opening
  /// replays it again.
  private func replay(_ overlay: LogOverlay, _ committer: inout Committer) throws(ImageError) {
    if overlay.lastFileOffset > (try file.size()) { try file.resize(to: overlay.lastFileOffset) }
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: VHDXFormat.pageSize, alignment: 4096)
    defer { page.deallocate() }
    for interval in overlay.intervals {
      if let source = interval.page {
        try LogOverlay.load(source, file, into: page)
        try file.write(UnsafeRawBufferPointer(page), at: interval.start)
      } else {
        // A hole, and no room reserved: a log can speak of more zeros than the host has room for.
        try file.punch(at: interval.start, length: interval.end - interval.start)
      }
    }
    // Everything must be in its place for good before the header gives the log up. Whatever fails, it can be done again.
    try flush()
    for _ in 0..<2 { try committer.current.update(file, flush: flush) { $0.logGUID = .zero } }
  }

  /// Makes the damaged copy of the region table equal to the good one, through the log as every table.
  private func mendRegionTable(_ copy: Int, _ tables: inout Tables) throws(ImageError) {
    let contents = UnsafeMutableRawBufferPointer.allocate(
      byteCount: VHDXFormat.regionTableSize, alignment: 4096)
    defer { contents.deallocate() }
    try file.read(into: contents, at: VHDXFormat.regionTableOffsets[1 - copy])
    for start in stride(from: 0, to: contents.count, by: VHDXFormat.pageSize) {
      let key = VHDXFormat.regionTableOffsets[copy] + UInt64(start)
      guard let slot = tables.cache.find(key) ?? tables.cache.insert(key) else { return }
      slot.copyMemory(from: contents.baseAddress! + start, byteCount: VHDXFormat.pageSize)
      tables.markDirty(key)
    }
  }
}
