import Storage

extension VHDXImage {
  public func prepareWrite(
    at offset: UInt64, limit: UInt64, mayAllocate: Bool, mayWait: Bool
  ) throws(ImageError) -> WriteRun {
    let block = offset >> blockShift
    let within = offset & (blockSize - 1)
    let length = min(limit, blockSize - within, virtualSize - offset)
    while true {
      var wantsHoles = false
      let run = try withTables(mayWait: mayWait) { (tables, access) throws(ImageError) -> WriteRun? in
        if let failure = tables.failure { throw failure }
        guard tables.mayChange, !tables.quietBlocks.contains(block) else {
          return WriteRun(.unknown, length: length, diskOffset: offset)
        }
        guard try tables.canTakeChange() else { return nil }
        guard let entry = try entry(geometry.payloadIndex(block), &tables, access) else { return nil }
        try check(entry, block: block, tables)
        try checkUncut(entry, block: block, tables)
        switch entry.state {
        case .fullyPresent:
          return WriteRun(.ready, length: length, diskOffset: offset, fileOffset: entry.offset + within)
        case .partiallyPresent:
          guard
            let isWhole = try areBitsSet(block: block, at: offset, length: length, &tables, access)
          else { return nil }
          return WriteRun(
            isWhole ? .ready : .tracked, length: length, diskOffset: offset, fileOffset: entry.offset + within
          )
        default:
          guard mayAllocate else { return WriteRun(.unallocated, length: length, diskOffset: offset) }
          // Holes are made to read as zero first, outside the lock.
          if tables.space.mayPrepareHoles {
            wantsHoles = true
            return WriteRun(.unknown, length: length, diskOffset: offset)
          }
          return try allocate(block, old: entry, at: offset, length: length, &tables, access)
        }
      }
      if wantsHoles, mayWait {
        try prepareHoles()
        continue
      }
      return run ?? WriteRun(.unknown, length: length, diskOffset: offset)
    }
  }

  public func completeWrite(_ run: WriteRun) throws(ImageError) {
    let block = run.diskOffset >> blockShift
    let within = run.diskOffset & (blockSize - 1)
    _ = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> Void? in
      guard let entry = try entry(geometry.payloadIndex(block), &tables, access) else { return nil }
      // The block may have been given up or filled in the meantime by somebody who wrote or zeroed the same range.
      guard entry.state == .partiallyPresent, entry.offset + within == run.fileOffset else { return () }
      guard let bitmap = try bitmapBlock(for: block, &tables, access) else { return nil }
      let first = run.diskOffset >> sectorShift
      let last = (run.diskOffset + run.length - 1) >> sectorShift
      guard
        try setBits(bitmapBlock: bitmap, sector: first, count: last - first + 1, to: true, &tables, access)
      else { return nil }
      // A block written from end to end no longer needs its bitmap. Asked only when its last sector was written:
      // that is when sequential writing is done with it.
      let length = geometry.blockLength(block)
      if within + run.length >= length,
        try areBitsSet(block: block, at: block << blockShift, length: length, &tables, access) == true
      {
        // Loading bitmap pages may have pushed the entry's page out.
        guard try self.entry(geometry.payloadIndex(block), &tables, access) != nil else { return nil }
        setEntry(geometry.payloadIndex(block), BlockTableEntry(.fullyPresent, offset: entry.offset), &tables)
      }
      return ()
    }
  }

  /// Whether this file has every sector that the range touches.
  func areBitsSet(
    block: UInt64, at offset: UInt64, length: UInt64, _ tables: inout Tables, _ access: PageAccess
  ) throws(ImageError) -> Bool? {
    guard let bitmap = try bitmapBlock(for: block, &tables, access) else { return nil }
    var sector = offset >> sectorShift
    let last = (offset + length - 1) >> sectorShift
    while sector <= last {
      guard
        let bits = try bitRun(
          bitmapBlock: bitmap, sector: sector, limit: last - sector + 1, &tables, access)
      else { return nil }
      guard bits.isSet else { return false }
      sector += bits.count
    }
    return true
  }

  /// Gives `block` room. Nothing is changed until every page that must change is in the cache.
  private func allocate(
    _ block: UInt64, old: BlockTableEntry, at offset: UInt64, length: UInt64, _ tables: inout Tables,
    _ access: PageAccess
  ) throws(ImageError) -> WriteRun? {
    let index = geometry.payloadIndex(block)
    let within = offset & (blockSize - 1)
    guard isDifferencing, old.state == .notPresent else {
      // The block reads as zero and its room does too: the table may speak of it at once.
      let place = try allocateRoom(&tables)
      setEntry(index, BlockTableEntry(.fullyPresent, offset: place), &tables)
      releaseAnchor(old, &tables)
      return WriteRun(.ready, length: length, diskOffset: offset, fileOffset: place + within)
    }

    // The bits must say that the parent has the whole block, whatever a crash left in them, before the block is
    // partly present; they are set when the bytes are there.
    let chunk = geometry.chunk(ofBlock: block)
    let bitmapIndex = geometry.bitmapIndex(chunk: chunk)
    guard let bitmapEntry = try entry(bitmapIndex, &tables, access) else { return nil }
    if bitmapEntry.state == .fullyPresent {
      guard try bitmapBlock(for: block, &tables, access) != nil else { return nil }
      let sectors = blockSize >> sectorShift
      guard
        try setBits(
          bitmapBlock: bitmapEntry.offset, sector: block * sectors, count: sectors, to: false, &tables, access
        )
      else { return nil }
    } else {
      guard bitmapEntry.state == .notPresent else {
        throw damagedEntry(
          "the sector bitmap of chunk \(chunk) is in the reserved state \(bitmapEntry.state.rawValue)")
      }
      guard try checkNoneIsPartlyPresent(chunk: chunk, &tables, access) else { return nil }
      let place = try tables.space.allocateAtEnd(VHDXFormat.mebibyte, file: file)
      do throws(ImageError) {
        // The bitmap is written only by commits. On a full host it must be this write that fails, and not every later
        // flush, of other data too.
        try file.reserve(at: place, length: VHDXFormat.mebibyte)
      } catch {
        tables.space.giveBackEnd(VHDXFormat.mebibyte)
        throw error
      }
      setEntry(bitmapIndex, .bitmap(offset: place), &tables)
    }
    // Loading bitmap pages may have pushed the entry's page out.
    guard try entry(index, &tables, access) != nil else { return nil }
    let place = try allocateRoom(&tables)
    setEntry(index, BlockTableEntry(.partiallyPresent, offset: place), &tables)
    return WriteRun(.tracked, length: length, diskOffset: offset, fileOffset: place + within)
  }

  /// Makes sure that no block of a chunk without a bitmap is partly present: by a new bitmap all of it would be the
  /// parent's. What was looked through as a whole has none. False when a page is missing.
  private func checkNoneIsPartlyPresent(
    chunk: UInt64, _ tables: inout Tables, _ access: PageAccess
  ) throws(ImageError) -> Bool {
    guard !tables.space.isAdopted else { return true }
    let first = chunk * geometry.chunkRatio
    for block in first..<min(first + geometry.chunkRatio, geometry.payloadBlocks) {
      guard let entry = try entry(geometry.payloadIndex(block), &tables, access) else { return false }
      guard entry.state != .partiallyPresent else {
        throw damagedEntry("block \(block) is partly present, but the sector bitmap of chunk \(chunk) is not")
      }
    }
    return true
  }

  private func allocateRoom(_ tables: inout Tables) throws(ImageError) -> UInt64 {
    if let hole = tables.space.takeReady() { return hole }
    return try tables.space.allocateAtEnd(blockSize, file: file)
  }

  /// A block that was undefined or unmapped may have kept its old room: it is free once the table says so on the medium.
  /// Before the whole table was looked through nobody knows whether the room is the block's alone: then it is left.
  func releaseAnchor(_ old: BlockTableEntry, _ tables: inout Tables) {
    guard old.state == .undefined || old.state == .unmapped, old.offset != 0, tables.space.isAdopted,
      old.offset <= VHDXFormat.maximumFileOffset
    else { return }
    let room = old.offset..<(old.offset + blockSize)
    guard isAnchorPossible(room, below: tables.space.initialEnd) else { return }
    tables.space.release(room, epoch: gate.current, change: tables.changes)
  }

  /// Makes a few holes read as zero, for blocks to come.
  private func prepareHoles() throws(ImageError) {
    let holes = tables.withLock { $0.space.takeHoles(blockSize, count: 8) }
    for (index, hole) in holes.enumerated() {
      do throws(ImageError) {
        try file.punch(at: hole, length: blockSize)
      } catch {
        // Those that are not known to read as zero stay free room, and are tried again.
        tables.withLock { tables in
          for hole in holes[index...] { tables.space.addFree(hole..<(hole + blockSize)) }
          tables.space.addReady(Array(holes[..<index]), length: blockSize)
        }
        if index == 0 { throw error }
        return
      }
    }
    tables.withLock { $0.space.addReady(holes, length: blockSize) }
  }
}
