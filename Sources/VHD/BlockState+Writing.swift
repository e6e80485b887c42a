import Storage

extension BlockState {
  /// Whether a change may begin now; if not, writing must begin first. Throws when no change ever will.
  func mayChange() throws(ImageError) -> Bool {
    switch phase {
    case .writing: true
    case .refused(let reason): throw reason
    case .reading, .finishing: false
    }
  }

  /// See `FormatImage.prepareWrite`. The range stays inside the disk.
  mutating func prepareWrite(
    _ offset: UInt64, _ limit: UInt64, mayAllocate: Bool, mayWait: Bool, _ file: HostFile,
    _ source: PageSource
  ) throws(ImageError) -> Step<WriteRun> {
    guard try mayChange() else { return .done(WriteRun(.unknown, length: limit, diskOffset: offset)) }
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
    let place: UInt64
    if entry == BlockLayout.unallocated {
      guard mayAllocate else {
        return .done(WriteRun(.unallocated, length: length, diskOffset: offset))
      }
      guard let new = room.take(layout) else { return .room }
      do throws(ImageError) {
        if layout.isDifferencing {
          // The bitmap is written only at the next commit. On a full host it must be this write that fails, and not
          // every later flush, of other data too.
          try file.reserve(at: new, length: layout.bitmapLength)
        } else {
          // Nothing is below: what is not written reads as zero with its bit set as well, and the room is zero. Data
          // whose bit a crash left clear would be zeros to readers that heed the bits and data to those that do not;
          // here all bits are stable, with the data, before the table speaks of the block.
          try file.write(layout.wholeBitmap(of: block), at: new)
        }
      } catch {
        room.zeroed.append(new)
        throw error
      }
      place = new
      tables.newBitmap(of: block, at: place)
      // In memory the block has its place at once: the room reads as zero, and in a child no bit is set, so
      // nothing changes for readers before the write completes.
      tables.setEntry(of: block, in: page, to: UInt32(place / BlockLayout.sector))
      room.allocated += 1
    } else {
      place = try self.place(of: block, entry, file)
      // Whoever writes here after the block was seen empty keeps it from being released.
      if !room.emptyCandidates.isEmpty { room.emptyCandidates.removeAll { $0.block == block } }
    }
    let fileOffset = place + layout.bitmapLength + inBlock
    if tables.full.contains(block) {
      return .done(WriteRun(.ready, length: length, diskOffset: offset, fileOffset: fileOffset))
    }
    length = min(length, layout.bitmapPageCoverage - inBlock % layout.bitmapPageCoverage)
    let bitmap: UnsafeMutableRawPointer
    switch try tables.bits(of: inBlock, at: place, file, source, forChange: true) {
    case .page(let found): bitmap = found
    case .load(let offset, let length): return .load(offset: offset, length: length)
    case .cacheIsFull: return .commit
    }
    let (bits, sectors) = tables.sectors(of: inBlock, length: length, in: bitmap)
    if bits.areSet(sectors) {
      tables.noteIfFull(block, bits)
      return .done(WriteRun(.ready, length: length, diskOffset: offset, fileOffset: fileOffset))
    }
    if !layout.isDifferencing {
      let page = tables.bitmapPage(of: inBlock, at: place)
      for edge in [inBlock, inBlock + length] where edge % 512 != 0 {
        guard mayWait else { return .load(offset: page, length: layout.bitmapPage) }
        try claimSector(of: edge, at: place, bits, page, file)
      }
    }
    return .done(WriteRun(.tracked, length: length, diskOffset: offset, fileOffset: fileOffset))
  }

  /// Makes the sector around `inBlock`, of which only a part is going to be written, one that was written:
  /// with zeros.
  ///
  /// Of a sector whose bit is clear a dynamic image shows zeros, but other bytes may lie there (left by a
  /// crash, or by a foreign writer). They must not appear beside the new ones. This waits for a small write
  /// under the lock, because between it and the setting of the bit another writer may come to the other
  /// half of the sector.
  private mutating func claimSector(
    of inBlock: UInt64, at place: UInt64, _ bits: SectorBits, _ page: UInt64, _ file: HostFile
  ) throws(ImageError) {
    let sector = Int(inBlock % layout.bitmapPageCoverage / 512)
    guard !bits.areSet(sector..<sector + 1) else { return }
    try file.writeZeros(at: place + layout.bitmapLength + inBlock / 512 * 512, length: 512)
    if bits.set(sector..<sector + 1) { tables.bitmaps.markDirty(page) }
  }

  /// See `FormatImage.completeWrite`: sets the bits of the sectors that the run covers wholly. Those that
  /// it covers in part were set before, or are the caller's fault.
  mutating func completeWrite(
    _ run: WriteRun, _ file: HostFile, _ source: PageSource
  ) throws(ImageError) -> Step<Bool> {
    if case .refused(let reason) = phase { throw reason }
    let block = run.diskOffset >> layout.blockShift
    let inBlock = run.diskOffset & (layout.blockSize - 1)
    let page: UnsafeMutableRawPointer
    switch try tables.entryPage(of: block, file, source, forChange: false) {
    case .page(let found): page = found
    case .load(let offset, let length): return .load(offset: offset, length: length)
    case .cacheIsFull: return .commit
    }
    // If the block was zeroed as a whole in between, the write was before that and is gone.
    let place = run.fileOffset - layout.bitmapLength - inBlock
    guard UInt64(BlockTables.entry(of: block, in: page)) * BlockLayout.sector == place else {
      return .done(true)
    }
    let first = inBlock.roundedUp(to: 512)
    let end = (inBlock + run.length) / 512 * 512
    guard first < end, !tables.full.contains(block) else { return .done(true) }
    let bitmap: UnsafeMutableRawPointer
    switch try tables.bits(of: first, at: place, file, source, forChange: true) {
    case .page(let found): bitmap = found
    case .load(let offset, let length): return .load(offset: offset, length: length)
    case .cacheIsFull: return .commit
    }
    let (bits, sectors) = tables.sectors(of: first, length: end - first, in: bitmap)
    if bits.set(sectors) {
      tables.bitmaps.markDirty(tables.bitmapPage(of: first, at: place))
      tables.noteIfFull(block, bits)
    }
    return .done(true)
  }

  var hasUncommittedChanges: Bool {
    tables.entries.dirtyCount > 0 || tables.bitmaps.dirtyCount > 0 || !room.freed.isEmpty
  }

  /// A small cache that fills up wholly holds all there is; a large one should be written before it must be.
  var wantsCommit: Bool {
    tables.entries.dirtyCount >= 512 || tables.bitmaps.dirtyCount >= Int(tables.limit) / 2
  }
}
