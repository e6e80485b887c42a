import Storage
import Synchronization

extension ChangeTracker {
  /// Records that [offset, offset + length) of the disk is about to change. Called inside the disk's gate, before the
  /// bytes are issued.
  ///
  /// Errors: only with `isStrict`, or when not even the end of the record can be recorded: the change must not be made.
  @inline(__always)
  public func note(_ offset: UInt64, _ length: UInt64, mayWait: Bool) throws(ImageError) -> Outcome {
    switch status.load(ordering: .sequentiallyConsistent) {
    case Status.idle: return .noted
    case Status.held: return .held
    default: return try record(offset, length, mayWait: mayWait)
    }
  }

  private func record(_ offset: UInt64, _ length: UInt64, mayWait: Bool) throws(ImageError) -> Outcome {
    while true {
      var failure: ImageError?
      let step = state.withLock { state -> Step in
        do throws(ImageError) {
          return try state.note(offset, length, file, mayWait: mayWait)
        } catch {
          failure = error
          return .ended
        }
      }
      switch step {
      case .noted: return .noted
      case .ended:
        guard let failure else { return .noted }
        if isStrict { throw failure }
        try giveUp(failure)
        return .noted
      case .mustWait: return .mustWait
      case .mark, .grow:
        guard mayWait else { return .mustWait }
        do throws(ImageError) {
          if step == .mark { try makeMarksDurable() } else { try grow() }
        } catch {
          if isStrict { throw error }
          try giveUp(error)
          return .noted
        }
      }
    }
  }

  enum Step { case noted, mark, grow, mustWait, ended }

  private func grow() throws(ImageError) {
    try keeping.withLock { (_) throws(ImageError) in
      if state.withLock({ $0.directory.freeCount > 0 }) { return }
      try addChunk()
    }
  }

  /// Makes the file a chunk longer. The caller holds `keeping`.
  func addChunk() throws(ImageError) {
    let chunks = state.withLock { $0.header.chunks }
    guard chunks < TrackingFormat.mostChunks else {
      throw ImageError(
        errno: .noSpace, "\(escaped(file.path)): is full; drop points, or reset change tracking")
    }
    // What is behind the last chunk is nobody's, and the new one's directory must begin empty.
    let end = TrackingFormat.fileSize(chunks: chunks)
    if try file.size() > end { try file.resize(to: end) }
    try file.resize(to: TrackingFormat.fileSize(chunks: chunks + 1))
    try updateHeader {
      $0.chunks = chunks + 1
    } also: {
      $0.directory.addChunk(chunks)
    }
  }

  /// Marks every region that somebody waits for, with one flush for all who wait.
  private func makeMarksDurable() throws(ImageError) {
    try keeping.withLock { (_) throws(ImageError) in
      guard
        let next = state.withLock({ state -> RegionMarks? in
          guard !state.marks.isSuperset(of: state.wanted) else { return nil }
          var next = state.marks
          next.formUnion(state.wanted)
          next.insertAhead(of: state.wanted)
          return next
        })
      else { return }
      try writeMarks(next)
      state.withLock { state in
        state.marks.formUnion(next)
        state.wanted.subtract(next)
      }
    }
  }

  /// Writes the region table that is not the newest, and flushes: the newest is whole until then. The caller holds
  /// `keeping`.
  func writeMarks(_ marks: RegionMarks) throws(ImageError) {
    var next = marks
    let (slot, history) = state.withLock { (1 - $0.regionSlot, $0.header.history) }
    next.sequence = state.withLock { $0.marks.sequence } + 1
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: RegionMarks.slotSize, alignment: 4096)
    defer { bytes.deallocate() }
    next.encode(into: bytes, history: history)
    try file.write(UnsafeRawBufferPointer(bytes), at: TrackingFormat.regionOffsets[slot])
    // A write into a region that is newly marked comes after this.
    try flushRecord()
    state.withLock { state in
      state.regionSlot = slot
      state.marks.sequence = next.sequence
    }
  }

  /// Takes the marks from regions that nobody wrote to for a while. `drain` returns when every write that was under
  /// way has ended. For a thread in the background.
  public func clearQuietMarks(drain: () -> Void) throws(ImageError) {
    let quiet = state.withLock { state -> RegionMarks in
      var quiet = state.marks
      quiet.subtract(state.touched)
      state.touched.removeAll()
      return quiet
    }
    guard !quiet.isEmpty, failure == nil else { return }
    drain()
    try keeping.withLock { (_) throws(ImageError) in
      // The fine bits of all those writes; only then are their marks of no more use.
      try flushRecord()
      let rest = state.withLock { state -> RegionMarks in
        var gone = quiet
        gone.subtract(state.touched)
        // From here on nobody relies on them.
        state.marks.subtract(gone)
        return state.marks
      }
      try writeMarks(rest)
    }
  }
}

extension TrackerState {
  /// Sets the bits of a range that is about to change, and puts them into the file; or says what must come first.
  mutating func note(
    _ offset: UInt64, _ length: UInt64, _ file: HostFile, mayWait: Bool
  ) throws(ImageError) -> ChangeTracker.Step {
    if let lost { throw lost }
    guard failure == nil else { return .ended }
    var isMarked = true
    for region in marks.regions(offset, length) {
      touched.insert(region)
      if !marks.contains(region) {
        wanted.insert(region)
        isMarked = false
      }
    }
    guard isMarked else { return .mark }
    let first = offset >> TrackingFormat.granularityShift
    let end = ((offset + length - 1) >> TrackingFormat.granularityShift) + 1
    return try setBits(first..<end, base: 0, file, mayWait: mayWait)
  }

  /// Sets bits (fine ones with a `base` of 0, coarse ones from `firstCoarseIndex` on) of the open interval, written
  /// through. `.grow` where a chunk must come first, `.mustWait` where a block would have to be waited for; what was
  /// set by then stays.
  mutating func setBits(
    _ range: Range<UInt64>, base: UInt32, _ file: HostFile, mayWait: Bool
  ) throws(ImageError) -> ChangeTracker.Step {
    var bit = range.lowerBound
    while bit < range.upperBound {
      let index = base + UInt32(bit / TrackingFormat.bitsPerBlock)
      let start = bit / TrackingFormat.bitsPerBlock * TrackingFormat.bitsPerBlock
      let last = min(range.upperBound, start + TrackingFormat.bitsPerBlock)
      let isNew = directory.open[index] == nil
      let slot: UInt32
      if let found = directory.open[index] {
        guard try loadBlock(index, found, file, mayWait: mayWait) else { return .mustWait }
        slot = found
      } else {
        guard let new = directory.takeSlot() else { return .grow }
        do throws(ImageError) {
          try cachePage(TrackingFormat.blockOffset(new)).initializeMemory(as: UInt8.self, repeating: 0)
        } catch {
          directory.giveBack([new])
          throw error
        }
        slot = new
      }
      guard let page = cache.find(TrackingFormat.blockOffset(slot)) else {
        throw ImageError(
          .failed, "\(escaped(file.path)): a block of changes left the cache while it was used")
      }
      let buffer = UnsafeMutableRawBufferPointer(start: page, count: TrackingFormat.pageSize)
      if BitmapBlock.set(buffer, (bit - start)..<(last - start)) || isNew {
        BitmapBlock.seal(buffer, history: header.history, interval: header.interval, index: index)
        do throws(ImageError) {
          try file.write(UnsafeRawBufferPointer(buffer), at: TrackingFormat.blockOffset(slot))
          if isNew {
            // The entry after its block, so that a kill between them leaves no entry without a block.
            try writeEntry(BlockDirectory.encode(index: index, interval: header.interval), slot, file)
            directory.addOpen(index: index, slot: slot)
          }
        } catch {
          // What the cache says must be in the file.
          cache.removeAll()
          if isNew { directory.giveBack([slot]) }
          throw error
        }
      }
      bit = last
    }
    return .noted
  }

  /// Brings a block of the open interval into the cache; false where that would have to be waited for.
  private mutating func loadBlock(
    _ index: UInt32, _ slot: UInt32, _ file: HostFile, mayWait: Bool
  ) throws(ImageError) -> Bool {
    let offset = TrackingFormat.blockOffset(slot)
    if cache.find(offset) != nil { return true }
    let block = BitmapBlock()
    if mayWait {
      try file.read(into: block.bytes, at: offset)
    } else if try file.readWithoutWaiting(into: block.bytes, at: offset) == .wouldWait {
      return false
    }
    guard
      BitmapBlock.isWhole(
        UnsafeRawBufferPointer(block.bytes), history: header.history, interval: header.interval, index: index)
    else { throw TrackingError.damaged(file.path, at: offset, "a block of changes is damaged") }
    try cachePage(offset).copyMemory(from: UnsafeRawBufferPointer(block.bytes))
    return true
  }

  private mutating func cachePage(_ offset: UInt64) throws(ImageError) -> UnsafeMutableRawBufferPointer {
    guard let page = cache.find(offset) ?? cache.insert(offset) else {
      throw ImageError(.outOfMemory, "the cache of change bitmaps is full")
    }
    return UnsafeMutableRawBufferPointer(start: page, count: TrackingFormat.pageSize)
  }

  func writeEntry(_ entry: UInt64, _ slot: UInt32, _ file: HostFile) throws(ImageError) {
    var value = entry.littleEndian
    let result: Result<Void, ImageError> = withUnsafeBytes(of: &value) { bytes in
      Result { () throws(ImageError) in try file.write(bytes, at: TrackingFormat.entryOffset(slot)) }
    }
    try result.get()
  }
}
