import Storage

/// Blocks that give up their room without being written. Nobody else uses the image meanwhile.
extension BlockStore {
  /// Where the room begins that a block has in the file, its bitmap first; nil where it has none. Waits.
  func room(ofBlock block: UInt64) throws(ImageError) -> UInt64? {
    let file = file
    let entry = try resolve(mayWait: true) { (state, source) throws(ImageError) -> Step<UInt32> in
      try state.entry(of: block, file, source)
    }
    guard let entry, entry != BlockLayout.unallocated else { return nil }
    return UInt64(entry) * BlockLayout.sector
  }

  /// The next block at or after `block` that has room in the file; nil when there is none. Waits.
  func nextBlockWithRoom(from block: UInt64) throws(ImageError) -> UInt64? {
    var next = block
    while next < layout.blockCount {
      let file = file
      let start = next
      let found = try resolve(mayWait: true) { (state, source) throws(ImageError) -> Step<UInt64> in
        let last = min((start / 1024 + 1) * 1024, state.layout.blockCount)
        var current = start
        while current < last {
          switch try state.entry(of: current, file, source) {
          case .done(let entry): if entry != BlockLayout.unallocated { return .done(current) }
          case .load(let offset, let length): return .load(offset: offset, length: length)
          case .commit: return .commit
          case .room: return .room
          case .scan: return .scan
          }
          current += 1
        }
        return .done(.max)
      }
      if let found, found != .max { return found }
      next = (next / 1024 + 1) * 1024
    }
    return nil
  }

  /// Takes the room of a block away; it is free once that is committed. In a session only. What the block reads as must
  /// have been recorded as a change where it is one.
  func release(block: UInt64) throws(ImageError) {
    let file = file
    _ = try resolve(mayWait: true) { (state, source) throws(ImageError) -> Step<Bool> in
      guard try state.mayChange() else {
        throw ImageError(
          .invalidState, "\(escaped(file.path)): is not being written, so no block can be given up")
      }
      switch try state.tables.entryPage(of: block, file, source, forChange: true) {
      case .load(let offset, let length): return .load(offset: offset, length: length)
      case .cacheIsFull: return .commit
      case .page(let page):
        let entry = BlockTables.entry(of: block, in: page)
        guard entry != BlockLayout.unallocated else { return .done(false) }
        state.release(block, try state.place(of: block, entry, file), page)
        return .done(true)
      }
    }
  }
}

extension BlockState {
  mutating func entry(of block: UInt64, _ file: HostFile, _ source: PageSource) throws(ImageError) -> Step<
    UInt32
  > {
    switch try tables.entryPage(of: block, file, source, forChange: false) {
    case .page(let page): .done(BlockTables.entry(of: block, in: page))
    case .load(let offset, let length): .load(offset: offset, length: length)
    case .cacheIsFull: .commit
    }
  }

  /// As `free`; room that a writer cut, because no disk byte lies in it, is not used again.
  mutating func release(_ block: UInt64, _ place: UInt64, _ page: UnsafeMutableRawPointer) {
    guard !hasWholeRoom(place) else { return free(block, place, page) }
    tables.setEntry(of: block, in: page, to: BlockLayout.unallocated)
    tables.full.remove(block)
    room.allocated -= min(room.allocated, 1)
  }
}
