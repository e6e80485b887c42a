import Storage

extension VirtualDisk {
  /// Fills `buffer` from `offset`. With `mayWait` false, returns false (with the buffer's contents undefined) instead
  /// of waiting for the medium or a lock; ask again, waiting, on a thread that may.
  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, mayWait: Bool
  ) throws(ImageError) -> Bool {
    // From resolving until the bytes have moved the room must not change hands.
    let gate = leaf.gate
    let entered = gate?.enter() ?? 0
    defer { gate?.leave(entered) }
    var done = 0
    while done < buffer.count {
      let (run, depth) = try locate(
        offset + UInt64(done), limit: UInt64(buffer.count - done), mayWait: mayWait)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<(done + Int(run.length))])
      switch run.kind {
      case .zero:
        part.clear()
      case .data:
        let file = layers[depth].file
        if mayWait {
          try file.read(into: part, at: run.fileOffset)
        } else if try file.readWithoutWaiting(into: part, at: run.fileOffset) == .wouldWait {
          return false
        }
      case .logged:
        guard mayWait else { return false }
        try layers[depth].readLogged(into: part, at: run.fileOffset)
      case .unknown, .parent:
        return false
      }
      done += Int(run.length)
    }
    return true
  }

  /// The start of the next stretch of data at or after `offset`; nil when there is none before the end. Waits.
  public func nextData(from offset: UInt64) throws(ImageError) -> UInt64? {
    var position = offset
    while position < size {
      let (run, depth) = try locate(position, limit: size - position, mayWait: true)
      switch run.kind {
      case .data:
        // The host may hold less than the image says: blocks of a fixed image that were never written.
        let end = run.fileOffset + run.length
        if let found = layers[depth].file.nextData(from: run.fileOffset, end: end) {
          return position + (found - run.fileOffset)
        }
      case .logged: return position
      default: break
      }
      position += run.length
    }
    return nil
  }

  /// The start of the next hole at or after `offset`; `size` when there is none. Waits.
  public func nextHole(from offset: UInt64) throws(ImageError) -> UInt64 {
    var position = offset
    while position < size {
      let (run, depth) = try locate(position, limit: size - position, mayWait: true)
      switch run.kind {
      case .data:
        let end = run.fileOffset + run.length
        let hole = layers[depth].file.nextHole(from: run.fileOffset, end: end)
        if hole < end { return position + (hole - run.fileOffset) }
      case .logged: break
      default: return position
      }
      position += run.length
    }
    return size
  }

  /// How the range is stored, in ascending runs that do not touch another of the same kind and file. Waits.
  /// Ends early when `body` answers false.
  public func forEachMapRun(
    from offset: UInt64, length: UInt64, _ body: (MapRun) -> Bool
  ) throws(ImageError) {
    var waiting: MapRun?
    var position = offset
    let end = offset + length
    while position < end {
      let (run, depth) = try locate(position, limit: end - position, mayWait: true)
      let isData = run.kind == .data || run.kind == .logged
      let next = MapRun(
        offset: position, length: run.length, kind: isData ? .data : run.isMapped ? .zero : .unmapped,
        depth: depth,
        fileOffset: isData ? run.fileOffset : nil)
      if var last = waiting, last.kind == next.kind, last.depth == next.depth,
        last.fileOffset.map({ $0 + last.length }) == next.fileOffset
      {
        last.length += next.length
        waiting = last
      } else {
        if let last = waiting, !body(last) { return }
        waiting = next
      }
      position += run.length
    }
    if let last = waiting { _ = body(last) }
  }
}
