import Glibc
import Storage

extension VirtualDisk {
  /// Writes `bytes` at `offset`; not durable before `flush`. With `mayWait` false, returns false where it would have
  /// to wait; part of the bytes may have been written then, and the whole is to be written again.
  public func write(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, mayWait: Bool
  ) throws(ImageError) -> Bool {
    guard leaf.isDifferencing else { return try writeWhole(bytes, at: offset, mayWait: mayWait) }
    let sectorMask = UInt64(logicalSectorSize) - 1
    if (offset | (offset + UInt64(bytes.count))) & sectorMask != 0 {
      guard mayWait else { return false }
      try writePartOfSectors(bytes, at: offset)
      return true
    }
    guard sectorGate.enter(mayWait: mayWait) else { return false }
    defer { sectorGate.leave() }
    return try writeWhole(bytes, at: offset, mayWait: mayWait)
  }

  /// Writes where no sector of the parent's is cut: any range of a disk without a parent, whole sectors otherwise.
  private func writeWhole(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, mayWait: Bool
  ) throws(ImageError) -> Bool {
    var done = 0
    while done < bytes.count {
      let step = try writeStep(
        UnsafeRawBufferPointer(rebasing: bytes[done...]), at: offset + UInt64(done), mayWait: mayWait)
      if step > 0 {
        done += step
        continue
      }
      guard mayWait else { return false }
      // Writing has not begun, the block is about to be given up, or a point is being made.
      if leaf.isWriting { usleep(200) } else { try beginWriting() }
    }
    return true
  }

  /// Writes the beginning of `bytes`, up to the end of a block; returns how much, 0 when it has to wait.
  private func writeStep(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, mayWait: Bool
  ) throws(ImageError) -> Int {
    // From resolving until the bytes have moved the room must not change hands.
    let gate = leaf.gate
    let entered = gate?.enter() ?? 0
    defer { gate?.leave(entered) }
    let limit = UInt64(bytes.count)
    var run = try leaf.prepareWrite(at: offset, limit: limit, mayAllocate: false, mayWait: mayWait)
    if run.kind == .unallocated {
      let part = UnsafeRawBufferPointer(rebasing: bytes[..<Int(run.length)])
      // Zeros over nothing need no room; but over a parent's data they do.
      if part.isAllZero {
        guard let isZero = try readsZeroBelow(offset, length: run.length, mayWait: mayWait) else { return 0 }
        if isZero { return part.count }
      }
      run = try leaf.prepareWrite(at: offset, limit: run.length, mayAllocate: true, mayWait: mayWait)
    }
    switch run.kind {
    case .unknown, .unallocated: return 0
    case .done: return Int(run.length)
    case .ready, .tracked:
      guard try tracking.note(offset, run.length, mayWait: mayWait) == .noted else { return 0 }
      try leaf.file.write(UnsafeRawBufferPointer(rebasing: bytes[..<Int(run.length)]), at: run.fileOffset)
      if run.kind == .tracked { try leaf.completeWrite(run) }
      if leaf.wantsCommit { wake() }
      return Int(run.length)
    }
  }

  /// Whether the leaf's parents show zeros in the whole range; nil when that cannot be told without waiting.
  private func readsZeroBelow(_ offset: UInt64, length: UInt64, mayWait: Bool) throws(ImageError) -> Bool? {
    guard leaf.isDifferencing else { return true }
    var done: UInt64 = 0
    while done < length {
      let (run, _) = try locate(offset + done, limit: length - done, mayWait: mayWait, from: 1)
      switch run.kind {
      case .zero: done += run.length
      case .unknown: return nil
      default: return false
      }
    }
    return true
  }

  /// Writes a range that begins or ends inside a sector of a differencing disk: the sectors at its edges are read
  /// through the chain and written whole.
  private func writePartOfSectors(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
    let sector = UInt64(logicalSectorSize)
    let start = offset / sector * sector
    let end = (offset + UInt64(bytes.count) + sector - 1) / sector * sector
    let whole = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(end - start), alignment: 4096)
    defer { whole.deallocate() }
    try sectorGate.exclusively { () throws(ImageError) in
      let first = UnsafeMutableRawBufferPointer(rebasing: whole[..<Int(sector)])
      let last = UnsafeMutableRawBufferPointer(rebasing: whole[(whole.count - Int(sector))...])
      _ = try read(into: first, at: start, mayWait: true)
      _ = try read(into: last, at: end - sector, mayWait: true)
      UnsafeMutableRawBufferPointer(rebasing: whole[Int(offset - start)...]).copyMemory(from: bytes)
      _ = try writeWhole(UnsafeRawBufferPointer(whole), at: start, mayWait: true)
    }
  }
}
