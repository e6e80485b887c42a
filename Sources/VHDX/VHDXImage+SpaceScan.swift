import Storage

/// Looking through the whole block table for room that no block has, and for blocks that share room.
extension VHDXImage {
  /// A table of this many bytes is looked through in a moment.
  static let quickTableLength: UInt64 = 4 << 20

  /// Looks through a long table; new blocks go to the end of the file until it is done. Waits long. For a thread in
  /// the background, in a writing session; does nothing when it was done before.
  ///
  /// Errors: damaged, when two blocks share a place; then nothing more is written. The host's, after which it may be done
  /// again; until then new blocks go on going to the end of the file.
  public func scanSpace() throws(ImageError) {
    // Behind the end that the file had when it was opened this program has allocated since, and the table on the medium
    // may not say so yet.
    let place = tables.withLock { tables -> UInt64? in
      tables.isWriting && tables.overlay == nil && !tables.space.isAdopted ? tables.space.initialEnd : nil
    }
    guard let scannedEnd = place else { return }
    do throws(ImageError) {
      let used = try spaceInUse(below: scannedEnd, inSession: true)
      try tables.withLock { (tables) throws(ImageError) in
        // The last block of the disk may reach beyond the file.
        tables.space.keepClear(below: used.end)
        try tables.space.completeLastMebibyte(file)
        tables.space.adopt(used: used)
      }
    } catch {
      // What the table says stays wrong; what the host could not do now it may do later.
      if error.returnValue == .wrongDataType {
        tables.withLock { if $0.failure == nil { $0.failure = error } }
      }
      throw error
    }
  }

  /// What lies below `end` in use by tables or blocks. Errors: damaged, when two blocks share a place.
  ///
  /// `inSession`: a session that began with the file ending at `end` may have changed the table since.
  func spaceInUse(below end: UInt64, inSession: Bool) throws(ImageError) -> SpaceUse {
    var used = SpaceUse(fileSize: end)
    for range in structures { _ = used.add(range) }
    let (overlay, fileEnd) = tables.withLock {
      ($0.overlay, inSession ? $0.space.initialFileSize : $0.wholeFileSize)
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var index: UInt64 = 0
    // Of the chunk that is looked through.
    var isPartlyPresent = false
    while index < geometry.entries {
      let count = min(UInt64(buffer.count / 8), geometry.entries - index)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(count * 8)])
      let offset = regions.blockTable.offset + index * 8
      if let overlay {
        try overlay.read(file, into: part, at: offset)
      } else {
        try file.read(into: part, at: offset)
      }
      for number in 0..<count {
        let entry = BlockTableEntry(rawValue: UnsafeRawBufferPointer(part).littleEndian(at: Int(number * 8)))
        // Entries that this session changed since may be read old or new: either way the place is not handed out,
        // because room that was given up becomes free only when its release is reclaimed (see `SpaceMap.adopt`).
        isPartlyPresent = isPartlyPresent || entry.state == .partiallyPresent
        if geometry.isBitmap(index: index + number) {
          // The next new block of the chunk would bring a bitmap, by which those blocks are the parent's.
          if isPartlyPresent, entry.state != .fullyPresent {
            let chunk = (index + number) / (geometry.chunkRatio + 1)
            let isMissing = inSession ? try isBitmapMissing(chunk: chunk) : true
            guard !isMissing else { throw notWritten("partly present blocks have no sector bitmap") }
          }
          isPartlyPresent = false
        }
        if entry.rawValue == 0 { continue }
        // The table is not what it was: what it says of other entries cannot be believed either, and room that nobody
        // seems to have may be needed to rescue what the file held.
        guard entry.reservedBits == 0 else {
          throw notWritten(
            "entry \(index + number) of the block table has bits set that the format keeps clear")
        }
        // What this session put behind the file's old end is known; nothing else may lie there.
        if inSession, entry.offset >= end, tables.withLock({ $0.placed.contains(index + number) }) {
          continue
        }
        try add(entry, index: index + number, end: end, fileEnd: fileEnd, to: &used)
      }
      index += count
    }
    return used
  }

  /// Whether a chunk has partly present blocks and no sector bitmap, by what the session knows: a commit writes the pages
  /// of the table one after the other, and between two of them the medium may have the one and not the other.
  private func isBitmapMissing(chunk: UInt64) throws(ImageError) -> Bool {
    // In this order: a block that becomes partly present brings its bitmap along.
    guard isDifferencing else { return true }
    guard try isBitmapNeeded(chunk: chunk, without: { _ in false }) else { return false }
    return try bitmapRoom(chunk: chunk) == nil
  }

  private func add(
    _ entry: BlockTableEntry, index: UInt64, end: UInt64, fileEnd: UInt64, to used: inout SpaceUse
  ) throws(ImageError) {
    let isBitmap = geometry.isBitmap(index: index)
    let length = isBitmap ? VHDXFormat.mebibyte : blockSize
    guard entry.offset <= VHDXFormat.maximumFileOffset else {
      throw notWritten("a block is said to lie at \(entry.offset), where no file reaches")
    }
    let range = entry.offset..<(entry.offset + length)
    switch entry.state {
    case .fullyPresent, .partiallyPresent:
      // Some writers leave the last block of a disk as short as the disk; any other must be there as a whole.
      let block = index - index / (geometry.chunkRatio + 1)
      let needed = isBitmap ? length : geometry.blockLength(min(block, geometry.payloadBlocks - 1))
      guard entry.offset + needed <= fileEnd else {
        throw notWritten("a block at \(entry.offset) reaches beyond the end of the file, which was cut")
      }
      guard used.add(range) else {
        throw notWritten(
          "a block at \(entry.offset) shares its place with another or with the file's tables, so writing one would change the other"
        )
      }
    case .undefined, .unmapped:
      // A soft anchor: room that the block may have back, or gives up when it is written.
      guard entry.offset != 0, isAnchorPossible(range, below: end) else { return }
      guard used.add(range) else {
        throw notWritten(
          "an unmapped block's room at \(entry.offset) is another's too, so giving it up would change the other"
        )
      }
    default: break
    }
  }

  /// Whether a soft anchor names room in the file as it was opened, which alone is known to be nobody else's. Any other
  /// is passed over, as if there were none.
  func isAnchorPossible(_ range: Range<UInt64>, below end: UInt64) -> Bool {
    let fileEnd = (end + VHDXFormat.mebibyte - 1) / VHDXFormat.mebibyte * VHDXFormat.mebibyte
    return range.upperBound <= fileEnd && !structures.contains { $0.overlaps(range) }
  }

  private func notWritten(_ what: String) -> ImageError {
    .damaged(
      file.path, at: regions.blockTable.offset, "\(what); nothing is written. Copy the disk to a new image")
  }
}
