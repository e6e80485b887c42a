import Glibc
import Storage

extension VHDXImage {
  public func zero(at offset: UInt64, limit: UInt64) throws(ImageError) -> WriteRun {
    let block = offset >> blockShift
    let within = offset & (blockSize - 1)
    let length = min(limit, blockSize - within, virtualSize - offset)
    let isWhole = within == 0 && length == geometry.blockLength(block)
    let entered = gate.enter()
    let run: WriteRun?
    do {
      defer { gate.leave(entered) }
      run = try zeroInTables(block, at: offset, length: length, isWhole: isWhole)
      if let run, run.kind == .ready || run.kind == .tracked {
        if isFixed {
          try file.zeroInPlace(at: run.fileOffset, length: length)
        } else {
          try file.punch(at: run.fileOffset, length: length)
        }
        if run.kind == .tracked { try completeWrite(run) }
      }
    }
    let done = WriteRun(.done, length: length, diskOffset: offset)
    guard let run, run.kind == .ready || run.kind == .tracked else { return run ?? done }
    if !isFixed { try releaseIfEmpty(block, place: run.fileOffset - within) }
    return done
  }

  /// What zeroing changes in the tables; `ready` or `tracked` when bytes of the file are to be zeroed in place.
  private func zeroInTables(
    _ block: UInt64, at offset: UInt64, length: UInt64, isWhole: Bool
  ) throws(ImageError) -> WriteRun? {
    let within = offset & (blockSize - 1)
    let done = WriteRun(.done, length: length, diskOffset: offset)
    return try withTables(mayWait: true) { (tables, access) throws(ImageError) -> WriteRun? in
      if let failure = tables.failure { throw failure }
      guard tables.mayChange, !tables.quietBlocks.contains(block) else {
        return WriteRun(.unknown, length: length, diskOffset: offset)
      }
      guard try tables.canTakeChange() else { return nil }
      let index = geometry.payloadIndex(block)
      guard let entry = try entry(index, &tables, access) else { return nil }
      try check(entry, block: block, tables)
      try checkUncut(entry, block: block, tables)
      switch entry.state {
      case .notPresent where isDifferencing:
        guard isWhole else { return WriteRun(.unallocated, length: length, diskOffset: offset) }
        setEntry(index, BlockTableEntry(.zero), &tables)
        return done
      case .fullyPresent, .partiallyPresent:
        if isWhole, !isFixed {
          setEntry(index, BlockTableEntry(.zero), &tables)
          tables.space.release(
            entry.offset..<(entry.offset + blockSize), epoch: gate.current, change: tables.changes)
          return done
        }
        return WriteRun(
          entry.state == .fullyPresent ? .ready : .tracked, length: length, diskOffset: offset,
          fileOffset: entry.offset + within)
      default:
        return done
      }
    }
  }

  /// Gives up a block that was punched in pieces until nothing was left of it.
  ///
  /// The host says cheaply whether it holds anything of the block. Writers of the block are kept out and those under
  /// way are waited for before the last look, because what they write would be lost with the block.
  private func releaseIfEmpty(_ block: UInt64, place: UInt64) throws(ImageError) {
    let length = geometry.blockLength(block)
    guard file.nextData(from: place, end: place + length) == nil else { return }
    let isClaimed = tables.withLock { (tables) -> Bool in
      guard !tables.quietBlocks.contains(block) else { return false }
      tables.quietBlocks.append(block)
      return true
    }
    guard isClaimed else { return }
    defer { tables.withLock { $0.quietBlocks.removeAll { $0 == block } } }
    guard waitForOperationsUnderWay() else { return }
    guard file.nextData(from: place, end: place + length) == nil else { return }
    _ = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> Void? in
      let index = geometry.payloadIndex(block)
      guard let entry = try entry(index, &tables, access) else { return nil }
      guard entry.offset == place, tables.isWriting else { return () }
      if entry.state == .partiallyPresent {
        guard
          let isWhole = try areBitsSet(
            block: block, at: block << blockShift, length: length, &tables, access)
        else { return nil }
        guard isWhole else { return () }
      } else if entry.state != .fullyPresent {
        return ()
      }
      guard try self.entry(index, &tables, access) != nil else { return nil }
      setEntry(index, BlockTableEntry(.zero), &tables)
      tables.space.release(place..<(place + blockSize), epoch: gate.current, change: tables.changes)
      return ()
    }
  }

  /// Waits, for a second at most, until every operation that is inside the gate now has left; false when one stays.
  /// Nobody new can find the block meanwhile: it is among `quietBlocks`.
  private func waitForOperationsUnderWay() -> Bool {
    let target = gate.current + 2
    for _ in 0..<10_000 {
      // Under the lock, because steps of the epoch must take turns.
      if tables.withLock({ _ in gate.advance() }) >= target { return true }
      usleep(100)
    }
    return false
  }
}
