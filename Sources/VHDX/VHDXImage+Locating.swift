import Storage

extension VHDXImage {
  public func locate(_ offset: UInt64, limit: UInt64, mayWait: Bool) throws(ImageError) -> Run {
    let run = try withTables(mayWait: mayWait) { (tables, access) throws(ImageError) in
      try locate(offset, limit: limit, &tables, access)
    }
    return run ?? Run(.unknown, length: limit)
  }

  /// Reads bytes that `locate` answered as `logged`. Waits.
  public func readLogged(into buffer: UnsafeMutableRawBufferPointer, at fileOffset: UInt64) throws(ImageError)
  {
    let overlay = tables.withLock { $0.overlay }
    // Once the log is replayed, its contents are in their places.
    if let overlay {
      try overlay.read(file, into: buffer, at: fileOffset)
    } else {
      try file.read(into: buffer, at: fileOffset)
    }
  }

  func locate(
    _ offset: UInt64, limit: UInt64, _ tables: inout Tables, _ access: PageAccess
  ) throws(ImageError) -> Run? {
    let block = offset >> blockShift
    let within = offset & (blockSize - 1)
    let end = min(limit, virtualSize - offset)
    let inBlock = min(end, blockSize - within)
    guard let entry = try entry(geometry.payloadIndex(block), &tables, access) else { return nil }
    try check(entry, block: block, tables)
    switch entry.state {
    case .fullyPresent:
      let place = entry.offset + within
      let trusted = tables.trustedEnd(geometry.payloadIndex(block))
      guard place < trusted else { throw cutBlock(block, entry.offset) }
      var length = min(inBlock, trusted - place)
      // Blocks that follow one another in the file are one run.
      var next = block + 1
      while length < end, let following = cachedEntry(next, tables), following.state == .fullyPresent,
        following.reservedBits == 0, following.offset == entry.offset + (next - block) * blockSize,
        following.offset + blockSize <= tables.trustedEnd(geometry.payloadIndex(next))
      {
        length = min(end, length + blockSize)
        next += 1
      }
      return overlaid(Run(.data, length: length, fileOffset: place), tables)
    case .partiallyPresent:
      guard let bitmap = try bitmapBlock(for: block, &tables, access) else { return nil }
      let sectorSize = UInt64(logicalSectorSize)
      let sector = offset >> sectorShift
      let intoSector = offset & (sectorSize - 1)
      let sectors = (intoSector + inBlock + sectorSize - 1) >> sectorShift
      guard
        let bits = try bitRun(bitmapBlock: bitmap, sector: sector, limit: sectors, &tables, access)
      else { return nil }
      let length = min(inBlock, (bits.count << sectorShift) - intoSector)
      guard bits.isSet else { return Run(.parent, length: length) }
      let place = entry.offset + within
      let trusted = tables.trustedEnd(geometry.payloadIndex(block))
      guard place < trusted else { throw cutBlock(block, entry.offset) }
      return overlaid(Run(.data, length: min(length, trusted - place), fileOffset: place), tables)
    default:
      let isParents = isDifferencing && entry.state == .notPresent
      let isMapped = entry.state == .zero || entry.state == .unmapped
      var length = inBlock
      var next = block + 1
      while length < end, let following = cachedEntry(next, tables), following.state == entry.state {
        length = min(end, length + blockSize)
        next += 1
      }
      return Run(isParents ? .parent : .zero, length: length, isMapped: isMapped)
    }
  }

  /// The entry of a block if its page is in the cache.
  private func cachedEntry(_ block: UInt64, _ tables: borrowing Tables) -> BlockTableEntry? {
    let index = geometry.payloadIndex(block)
    guard block < geometry.payloadBlocks, let slot = tables.cache.find(pageOfEntry(index)) else { return nil }
    let page = UnsafeRawBufferPointer(start: slot, count: VHDXFormat.pageSize)
    return BlockTableEntry(
      rawValue: page.littleEndian(UInt64.self, at: Int(index * 8 % UInt64(VHDXFormat.pageSize))))
  }

  /// Cuts a run of data where the log that has not been replayed changes the file, or at the file's end.
  private func overlaid(_ run: Run, _ tables: borrowing Tables) -> Run {
    guard let overlay = tables.overlay else { return run }
    var run = run
    let end = run.fileOffset + run.length
    if let index = overlay.firstInterval(endingAfter: run.fileOffset), overlay.intervals[index].start < end {
      let interval = overlay.intervals[index]
      if interval.start > run.fileOffset {
        run.length = interval.start - run.fileOffset
      } else {
        run.length = min(run.length, interval.end - run.fileOffset)
        run.kind = .logged
        return run
      }
    }
    // The file counts as grown to what the log says; the part that is not there yet is the overlay's to answer.
    if run.fileOffset + run.length > tables.space.fileSize {
      if run.fileOffset >= tables.space.fileSize {
        run.kind = .logged
      } else {
        run.length = tables.space.fileSize - run.fileOffset
      }
    }
    return run
  }
}
