import Storage

/// Blocks that give up their room without being written. Nobody else uses the image meanwhile.
extension VHDXImage {
  /// Blocks of the disk.
  public var blockCount: UInt64 { geometry.payloadBlocks }

  /// Where the room begins that a block has in the file; nil where it has none. Waits.
  ///
  /// Room that an unmapped block has kept (a soft anchor, 2.5.1.1) counts, though nothing of it is read.
  public func room(ofBlock block: UInt64) throws(ImageError) -> UInt64? {
    let answer = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> UInt64?? in
      guard let entry = try entry(geometry.payloadIndex(block), &tables, access) else { return nil }
      try check(entry, block: block, tables)
      return .some(hasRoom(entry, tables) ? entry.offset : nil)
    }
    return answer ?? nil
  }

  /// The next block at or after `block` that has room in the file; nil when there is none. Waits.
  public func nextBlockWithRoom(from block: UInt64) throws(ImageError) -> UInt64? {
    var next = block
    while next < geometry.payloadBlocks {
      let step = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> UInt64? in
        // A page's worth under one lock.
        let last = min(next + 512, geometry.payloadBlocks)
        while next < last {
          guard let entry = try entry(geometry.payloadIndex(next), &tables, access) else { return nil }
          try check(entry, block: next, tables)
          if hasRoom(entry, tables) { return next }
          next += 1
        }
        return .max
      }
      if let step, step != .max { return step }
    }
    return nil
  }

  private func hasRoom(_ entry: BlockTableEntry, _ tables: borrowing Tables) -> Bool {
    switch entry.state {
    case .fullyPresent, .partiallyPresent: true
    case .undefined, .unmapped:
      entry.offset != 0 && entry.offset <= VHDXFormat.maximumFileOffset
        && isAnchorPossible(
          entry.offset..<(entry.offset + blockSize),
          below: max(tables.space.initialEnd, tables.overlay?.lastFileOffset ?? 0))
    default: false
    }
  }

  /// Takes the room of a block away; the room is free once that is committed. In a session only; the whole table was looked
  /// through. What the block reads as must have been recorded as a change where it is one.
  ///
  /// An unmapped block stays unmapped, and loses its anchor: DataWriteGuid need not change for that.
  public func release(block: UInt64, _ how: BlockRelease) throws(ImageError) {
    _ = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> Void? in
      guard try tables.canTakeChange() else { return nil }
      let index = geometry.payloadIndex(block)
      guard let entry = try entry(index, &tables, access) else { return nil }
      try check(entry, block: block, tables)
      try checkUncut(entry, block: block, tables)
      guard hasRoom(entry, tables) else { return () }
      switch entry.state {
      case .undefined, .unmapped:
        setEntry(index, BlockTableEntry(entry.state), &tables)
        releaseAnchor(entry, &tables)
      default:
        // Never UNMAPPED or NOT_PRESENT for zero: of these a reader may show what lay there, or the parent.
        let state: BlockTableEntry.PayloadState = how == .zero || !isDifferencing ? .zero : .notPresent
        setEntry(index, BlockTableEntry(state), &tables)
        tables.space.release(
          entry.offset..<(entry.offset + blockSize), epoch: gate.current, change: tables.changes)
      }
      return ()
    }
  }

  /// Gives up the sector bitmaps of chunks in which no block is partly present any more; returns how many. What made
  /// them useless must be committed before: the table reaches the medium page by page, and a bitmap's entry may be on an earlier one
  /// than its blocks'.
  public func releaseUnusedBitmaps() throws(ImageError) -> UInt64 {
    var released: UInt64 = 0
    for chunk in 0..<geometry.chunks {
      guard try bitmapRoom(chunk: chunk) != nil, try !isBitmapNeeded(chunk: chunk, without: { _ in false })
      else { continue }
      let done = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> Bool? in
        guard try tables.canTakeChange() else { return nil }
        let index = geometry.bitmapIndex(chunk: chunk)
        guard let entry = try entry(index, &tables, access) else { return nil }
        guard entry.state == .fullyPresent else { return false }
        setEntry(index, BlockTableEntry(rawValue: 0), &tables)
        tables.space.release(
          entry.offset..<(entry.offset + VHDXFormat.mebibyte), epoch: gate.current, change: tables.changes)
        return true
      }
      if done == true { released += 1 }
    }
    return released
  }

  /// Where the sector bitmap of a chunk lies; nil where it has none.
  func bitmapRoom(chunk: UInt64) throws(ImageError) -> UInt64? {
    let index = geometry.bitmapIndex(chunk: chunk)
    // The last chunk of a file without a parent has no entry for one.
    guard index < geometry.entries else { return nil }
    let answer = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> UInt64?? in
      guard let entry = try entry(index, &tables, access) else { return nil }
      guard entry.state == .fullyPresent else { return .some(nil) }
      try checkPlace(entry, length: VHDXFormat.mebibyte, what: "the sector bitmap of chunk \(chunk)")
      return .some(entry.offset)
    }
    return answer ?? nil
  }

  /// Whether a block of a chunk is partly present, those left out that are going to give their room up. Waits.
  func isBitmapNeeded(chunk: UInt64, without isReleased: (UInt64) -> Bool) throws(ImageError) -> Bool {
    guard isDifferencing else { return false }
    var block = chunk * geometry.chunkRatio
    let last = min(block + geometry.chunkRatio, geometry.payloadBlocks)
    while block < last {
      let answer = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> Bool? in
        let step = min(block + 512, last)
        while block < step {
          guard let entry = try entry(geometry.payloadIndex(block), &tables, access) else { return nil }
          if entry.state == .partiallyPresent, !isReleased(block) { return true }
          block += 1
        }
        return false
      }
      if answer == true { return true }
    }
    return false
  }
}
