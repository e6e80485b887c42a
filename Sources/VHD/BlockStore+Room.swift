import Storage

extension BlockStore {
  /// Makes room for at least one block: what was freed, then what lies unused between blocks or behind
  /// them, then by growing the file.
  func makeRoom() throws(ImageError) {
    try upkeep.withLock { (upkeep) throws(ImageError) in
      zeroStablePlaces()
      try zeroGap()
      if state.withLock({ $0.room.canTake(layout) }) { return }
      try zeroLeftOver()
      if state.withLock({ $0.room.canTake(layout) }) { return }
      try moveFooter(upkeep)
    }
  }

  /// Zeroes one stretch between blocks, if there is one, at most 64 places of it.
  private func zeroGap() throws(ImageError) {
    guard let gap = state.withLock({ $0.room.canTake(layout) ? nil : $0.room.gaps.last }) else { return }
    var places: [UInt64] = []
    var place = layout.place(from: gap.offset)
    while places.count < 64, place + layout.bitmapLength + layout.blockSize <= gap.end {
      places.append(place)
      place = layout.place(from: place + layout.bitmapLength + layout.blockSize)
    }
    if let first = places.first, let last = places.last {
      try file.punch(at: first, length: last + layout.bitmapLength + layout.blockSize - first)
    }
    state.withLock { state in
      state.room.gaps.removeLast()
      if let last = places.last, places.count == 64 {
        let rest = last + layout.bitmapLength + layout.blockSize
        state.room.gaps.append(FileExtent(offset: rest, length: gap.end - rest))
      }
      // The lowest is taken first: places are taken from the end.
      state.room.zeroed += places.reversed()
    }
  }

  /// Room behind the blocks that an earlier writer left without using it, after a crash: what it holds is
  /// not known.
  private func zeroLeftOver() throws(ImageError) {
    let room = state.withLock {
      (cursor: $0.room.cursor, zeroedEnd: $0.room.zeroedEnd, footer: $0.room.footer)
    }
    guard room.zeroedEnd < room.footer, room.cursor < min(room.footer, BlockLayout.largestFile) else {
      return
    }
    try file.punch(at: room.cursor, length: room.footer - room.cursor)
    state.withLock { $0.room.zeroedEnd = room.footer }
  }

  /// Moves the footer towards the end, over new room for many blocks.
  private func moveFooter(_ upkeep: Upkeep) throws(ImageError) {
    let (cursor, old, allocated, growth) = state.withLock {
      ($0.room.cursor, $0.room.footer, $0.room.allocated, $0.room.growth)
    }
    let first = layout.place(from: cursor)
    let reach = BlockLayout.largestFile
    guard first + layout.step + BlockLayout.sector <= reach else {
      throw ImageError(
        errno: .noSpace,
        "\(escaped(file.path)): the file cannot grow beyond 2 TiB, which is what the format's sector "
          + "numbers reach"
      )
    }
    let wanted = max(1, min(growth / layout.step, layout.blockCount - min(layout.blockCount, allocated)))
    let count = min(wanted, (reach - BlockLayout.sector - first) / layout.step)
    let end = first + (count - 1) * layout.step + layout.bitmapLength + layout.blockSize
    let footer = max(layout.footerPlace(after: end), old + BlockLayout.sector)
    try moveFooter(from: old, to: footer, upkeep)
    state.withLock { state in
      state.room.zeroedEnd = footer
      state.room.growth = min(growth * 2, Room.largestGrowth)
    }
  }

  /// Makes room up to `end` for blocks that are moved there; what they leave is cut at the clean close.
  func makeRoom(upTo end: UInt64) throws(ImageError) {
    try upkeep.withLock { (upkeep) throws(ImageError) in
      let old = state.withLock { $0.room.footer }
      guard end > old else { return }
      try moveFooter(from: old, to: max(layout.footerPlace(after: end), old + BlockLayout.sector), upkeep)
      // Nobody else is handed anything of it.
      state.withLock { state in
        state.room.cursor = max(state.room.cursor, end)
        state.room.zeroedEnd = state.room.cursor
      }
    }
  }

  /// Grows the file so that it ends with the footer at `footer`; what it grew by reads as zero.
  private func moveFooter(
    from old: UInt64, to footer: UInt64, _ upkeep: borrowing Upkeep
  ) throws(ImageError) {
    let bytes = ByteBuffer(copying: upkeep.footer)
    do throws(ImageError) {
      try file.write(bytes.readable, at: footer)
    } catch {
      // The end of the file is the old footer again; if not even that can be done, the copy at the
      // beginning serves.
      try? file.resize(to: old + BlockLayout.sector)
      throw error
    }
    // The new footer must be there before the old one is overwritten: at every moment one of them, or the
    // copy, is good.
    try flush()
    try file.writeZeros(at: old, length: BlockLayout.sector)
    state.withLock { state in
      state.room.footer = footer
      state.bounds.end = footer
    }
  }
}
