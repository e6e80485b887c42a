import Glibc
import Storage

extension BlockStore {
  /// See `FormatImage.beginWriting`: looks at the whole table, and mends a footer or a copy of it that is
  /// broken, and what a change of the parent left that was cut off.
  func beginWriting() throws(ImageError) {
    try upkeep.withLock { (upkeep) throws(ImageError) in
      switch state.withLock({ $0.phase }) {
      case .writing: return
      case .refused(let reason): throw reason
      case .finishing:
        // Whoever is finishing notices, and leaves the file as it is.
        state.withLock { if case .finishing = $0.phase { $0.phase = .writing } }
        return
      case .reading: break
      }
      let name = escaped(file.path)
      guard file.isWritable else {
        throw ImageError(errno: .readOnlyFileSystem, "\(name): was opened for reading only")
      }
      guard search.copy != .otherDisk else {
        throw .damaged(
          file.path, at: search.tailOffset,
          "the footer and its copy at the beginning speak of different disks; the image is read by the "
            + "footer, and not written: convert it to a new one")
      }
      guard layout.blockCount <= TableScan.mostBlocks else {
        throw ImageError(
          .notSupported,
          "\(name): has \(layout.blockCount) blocks of \(layout.blockSize) bytes; so small ones are read, "
            + "not written"
        )
      }
      let bounds = state.withLock { $0.bounds }
      let scan = try TableScan(layout, bounds, file)
      try scan.failIfDamaged(file)
      var footer = bounds.end
      if !upkeep.footersAreGood {
        footer = try mendFooters(upkeep)
        upkeep.footersAreGood = true
      }
      state.withLock { state in
        state.note(scan)
        state.room = Room(scan, layout, footer: footer)
        state.bounds = BlockBounds(end: footer, hasFooter: true)
      }
      try bringHeaderHome(scan, &upkeep)
      state.withLock { $0.phase = .writing }
    }
  }

  /// Writes what is broken from what is good, durably, and never both: the copy is what a move of the
  /// footer relies on. Returns where the footer is.
  ///
  /// Where a change of the parent was cut off between the two, the copy gets what the footer at the end says: that one was
  /// believed when the file was opened, and the chain verified, so the parent that was read through stays the parent.
  private func mendFooters(_ upkeep: Upkeep) throws(ImageError) -> UInt64 {
    let bytes = ByteBuffer(copying: upkeep.footer)
    if search.copy != .same {
      try file.write(bytes.readable, at: 0)
      // Durable before anything else is touched: the footer at the end is going to move.
      try flush()
    }
    switch search.tail {
    case .whole: return search.tailOffset
    case .short:
      // The same bytes at the same place, and the last one, which was missing.
      try file.write(bytes.readable, at: search.tailOffset)
      try flush()
      return search.tailOffset
    case .lost:
      // Behind all that the file holds: what it ends with may be a block.
      let offset = search.fileSize.roundedUp(to: BlockLayout.sector)
      try file.write(bytes.readable, at: offset)
      try flush()
      return offset
    }
  }

  /// See `FormatImage.finishWriting`. When writing begins again meanwhile, it is a commit.
  func finishWriting() throws(ImageError) {
    try commit()
    let began = state.withLock { state -> Bool in
      guard state.isWriting else { return false }
      state.phase = .finishing
      return true
    }
    guard began else { return }
    drain()
    do throws(ImageError) {
      try upkeep.withLock { (upkeep) throws(ImageError) in
        // A commit may find blocks that have become empty: then there is something to commit again.
        repeat { try commit(&upkeep) } while state.withLock { $0.hasUncommittedChanges }
        guard
          state.withLock({ state -> Bool in
            guard case .finishing = state.phase else { return false }
            state.phase = .reading
            return true
          })
        else { return }
        do throws(ImageError) {
          try cutUnusedRoom(upkeep)
        } catch {
          state.withLock { if case .reading = $0.phase { $0.phase = .writing } }
          throw error
        }
      }
    } catch {
      // Nothing is lost: the changes wait for another commit, or the file only has more room than it needs.
      state.withLock { if case .finishing = $0.phase { $0.phase = .writing } }
      throw error
    }
  }

  /// See `FormatImage.drain`. Operations may need the upkeep lock to complete, so it is not held meanwhile.
  func drain() {
    let wanted = gate.current + 2
    while upkeep.withLock({ _ in gate.advance() }) < wanted { usleep(100) }
  }

  /// Moves the footer back behind the last block.
  private func cutUnusedRoom(_ upkeep: Upkeep) throws(ImageError) {
    let (bounds, room) = state.withLock { ($0.bounds, $0.room) }
    var end = room.cursor
    if room.stable.isEmpty {
      // Places that were freed behind the last block go too, unless somebody may still be writing there.
      end = try TableScan(layout, bounds, file).blocksEnd
    }
    let place = layout.footerPlace(after: max(end, layout.tablesEnd))
    guard place + BlockLayout.sector <= room.footer else { return }
    let bytes = ByteBuffer(copying: upkeep.footer)
    do throws(ImageError) {
      try file.write(bytes.readable, at: place)
    } catch  where error.errno == .noSpace {
      // On a full host even this may lack room; the file is good as it is.
      return
    }
    // There must be a footer where the file is going to end, before the one behind it is cut off.
    try flush()
    try file.resize(to: place + BlockLayout.sector)
    state.withLock { state in
      state.bounds.end = place
      state.room = Room()
    }
    try flush()
  }
}

extension Room {
  /// What a look at the table says of room: nothing is known to be zero yet.
  init(_ scan: TableScan, _ layout: BlockLayout, footer: UInt64) {
    cursor = max(scan.blocksEnd, layout.tablesEnd)
    zeroedEnd = cursor
    self.footer = footer
    gaps = scan.gaps.filter { $0.offset >= layout.tablesEnd }
    allocated = scan.allocated
  }
}
