import Storage

extension BlockStore {
  /// See `FormatImage.zero`.
  func zero(at offset: UInt64, limit: UInt64) throws(ImageError) -> WriteRun {
    let (file, length) = (file, min(limit, layout.virtualSize - offset))
    // Until the bytes are zeroed the place must not become another block's.
    let entered = gate.enter()
    defer { gate.leave(entered) }
    let step = try resolve(mayWait: true) { (state, source) throws(ImageError) -> Step<ZeroStep> in
      try state.zero(offset, length, file, source)
    }
    switch step {
    case .answer(let run): return run
    case .inPlace(let block, let fileOffset, let length):
      try file.punch(at: fileOffset, length: length)
      noteIfEmpty(block, fileOffset - (offset & (layout.blockSize - 1)))
      return WriteRun(.done, length: length, diskOffset: offset)
    case nil: return WriteRun(.unknown, length: length, diskOffset: offset)
    }
  }

  /// A dynamic block whose data the host says are all a hole is released at one of the next commits.
  private func noteIfEmpty(_ block: UInt64, _ dataOffset: UInt64) {
    guard !layout.isDifferencing, looksEmpty(dataOffset, block, mayRead: false) else { return }
    state.withLock { state in
      // Under the lock: whoever has prepared a write of the block by now has entered the gate in this epoch or before,
      // and is waited for; whoever prepares one later takes the block off the list.
      let epoch = gate.current
      guard state.room.emptyCandidates.count < 4096,
        !state.room.emptyCandidates.contains(where: { $0.block == block })
      else { return }
      state.room.emptyCandidates.append((block: block, epoch: epoch))
    }
  }

  /// Whether all bytes of a block's data are zero, as far as that is cheap to know: what the host holds of
  /// them is at most a few pages, those at the edges.
  private func looksEmpty(_ dataOffset: UInt64, _ block: UInt64, mayRead: Bool) -> Bool {
    let end = dataOffset + layout.diskLength(of: block)
    var offset = dataOffset
    for _ in 0..<4 {
      guard let data = file.nextData(from: offset, end: end) else { return true }
      let hole = file.nextHole(from: data, end: end)
      guard hole > data, hole - data <= 65536 else { return false }
      if mayRead {
        let buffer = ByteBuffer(count: Int(hole - data))
        do throws(ImageError) { try file.read(into: buffer.bytes, at: data) } catch { return false }
        if !buffer.readable.isAllZero { return false }
      }
      offset = hole
      if offset >= end { return true }
    }
    return false
  }

  /// Releases blocks that were zeroed in pieces and hold nothing any more. The caller is a commit that has
  /// just flushed, so that the host's holes can be relied on.
  ///
  /// A write that was prepared before the block was noted may still be on its way: the gate tells when it
  /// has ended. A later one takes the block off the list.
  func releaseEmptyBlocks() {
    guard state.withLock({ !$0.room.emptyCandidates.isEmpty }) else { return }
    gate.advance()
    let epoch = gate.advance()
    state.withLock { state in
      let ripe = state.room.emptyCandidates.filter { $0.epoch + 2 <= epoch }.prefix(64).map(\.block)
      state.room.emptyCandidates.removeAll { ripe.contains($0.block) }
      for block in ripe {
        // A block whose page is not in memory stays as it is: it reads as zero all the same.
        guard let page = state.tables.entries.find(state.tables.tablePage(of: block)) else { continue }
        let entry = BlockTables.entry(of: block, in: page)
        guard entry != BlockLayout.unallocated else { continue }
        let place = UInt64(entry) * BlockLayout.sector
        // Under the lock, so that no write can be prepared between the look and the release.
        if state.hasWholeRoom(place), looksEmpty(place + layout.bitmapLength, block, mayRead: true) {
          state.free(block, place, page)
        }
      }
    }
  }
}

/// What zeroing comes to, as far as the tables go.
enum ZeroStep: Sendable {
  case answer(WriteRun)
  /// These bytes of the file are the range's: zero them.
  case inPlace(block: UInt64, fileOffset: UInt64, length: UInt64)
}

extension BlockState {
  /// Zeroes what the tables alone can zero, from `offset` on.
  mutating func zero(
    _ offset: UInt64, _ limit: UInt64, _ file: HostFile, _ source: PageSource
  ) throws(ImageError) -> Step<ZeroStep> {
    guard try mayChange() else {
      return .done(.answer(WriteRun(.unknown, length: limit, diskOffset: offset)))
    }
    let block = offset >> layout.blockShift
    let inBlock = offset & (layout.blockSize - 1)
    var length = min(limit, layout.blockSize - inBlock)
    let page: UnsafeMutableRawPointer
    switch try tables.entryPage(of: block, file, source, forChange: true) {
    case .page(let found): page = found
    case .load(let offset, let length): return .load(offset: offset, length: length)
    case .cacheIsFull: return .commit
    }
    let entry = BlockTables.entry(of: block, in: page)
    if entry == BlockLayout.unallocated {
      // In a differencing image the caller writes zeros, or the parent would show through.
      return .done(
        .answer(
          layout.isDifferencing
            ? WriteRun(.unallocated, length: length, diskOffset: offset)
            : WriteRun(.done, length: emptyLength(offset, limit, page), diskOffset: offset)))
    }
    let place = try place(of: block, entry, file)
    if !layout.isDifferencing && inBlock == 0 && length == layout.diskLength(of: block) && hasWholeRoom(place)
    {
      free(block, place, page)
      return .done(.answer(WriteRun(.done, length: length, diskOffset: offset)))
    }
    if layout.isDifferencing && !tables.full.contains(block) {
      length = min(length, layout.bitmapPageCoverage - inBlock % layout.bitmapPageCoverage)
      let bitmap: UnsafeMutableRawPointer
      switch try tables.bits(of: inBlock, at: place, file, source, forChange: false) {
      case .page(let found): bitmap = found
      case .load(let offset, let length): return .load(offset: offset, length: length)
      case .cacheIsFull: return .commit
      }
      let (bits, sectors) = tables.sectors(of: inBlock, length: length, in: bitmap)
      let run = bits.run(from: sectors.lowerBound, end: sectors.upperBound)
      length = min(length, UInt64(run.count) * 512 - offset % 512)
      guard run.isSet else {
        return .done(.answer(WriteRun(.unallocated, length: length, diskOffset: offset)))
      }
    }
    return .done(.inPlace(block: block, fileOffset: place + layout.bitmapLength + inBlock, length: length))
  }

  /// False for the disk's last block where a writer cut the part that no disk byte lies in: such room is
  /// not reused.
  func hasWholeRoom(_ place: UInt64) -> Bool { place + layout.bitmapLength + layout.blockSize <= bounds.end }

  /// Takes the block's place away, in memory; the place may be used again after the commit that says so.
  mutating func free(_ block: UInt64, _ place: UInt64, _ page: UnsafeMutableRawPointer) {
    tables.setEntry(of: block, in: page, to: BlockLayout.unallocated)
    tables.full.remove(block)
    room.freed.append(place)
    room.allocated -= min(room.allocated, 1)
  }
}
