import Glibc
import Storage

extension VirtualDisk {
  /// Makes the range read as zero and gives its room back where whole blocks allow it. Waits.
  public func zero(at offset: UInt64, length: UInt64) throws(ImageError) {
    guard length > 0 else { return }
    var position = offset
    let end = offset + length
    if leaf.isDifferencing {
      // Parts of sectors go the way of any write: the rest of the sector may be the parent's.
      let sector = UInt64(logicalSectorSize)
      let firstWhole = min(end, (offset + sector - 1) / sector * sector)
      try writeZeros(at: position, length: firstWhole - position)
      position = firstWhole
      let lastWhole = max(position, end / sector * sector)
      try writeZeros(at: lastWhole, length: end - lastWhole)
      try zeroSectors(from: position, to: lastWhole)
    } else {
      try zeroSectors(from: position, to: end)
    }
    if leaf.wantsCommit { wake() }
  }

  private func zeroSectors(from start: UInt64, to end: UInt64) throws(ImageError) {
    var position = start
    while position < end {
      // What reads as zero by the tables' word needs no change, and no writing session. Where that is only a part of
      // what the leaf leaves to its parents, a whole block is better made zero in one step.
      let (run, depth) = try locate(position, limit: end - position, mayWait: true)
      if run.kind == .zero, depth == 0 || run.length == end - position {
        position += run.length
        continue
      }
      let step = try zeroStep(position, end: end)
      switch step.kind {
      case .done: position += step.length
      case .unallocated:
        if run.kind != .zero { try writeZeros(at: position, length: min(step.length, run.length)) }
        position += min(step.length, run.length)
      default:
        if leaf.isWriting { usleep(200) }
      }
    }
  }

  private func zeroStep(_ position: UInt64, end: UInt64) throws(ImageError) -> WriteRun {
    guard leaf.isWriting else {
      try beginWriting()
      return WriteRun(.unknown, length: 1, diskOffset: position)
    }
    _ = sectorGate.enter(mayWait: true)
    defer { sectorGate.leave() }
    // The leaf's gate would keep the leaf from giving the block up.
    let entered = tracking.gate.enter()
    defer { tracking.gate.leave(entered) }
    // The session may have ended since, and with it the marks.
    guard leaf.isWriting else { return WriteRun(.unknown, length: 1, diskOffset: position) }
    // Up to where any block ends, and not the whole of a long range again for each of its blocks.
    let stepEnd = min(end, (position / VirtualDisk.largestZeroStep + 1) * VirtualDisk.largestZeroStep)
    guard try tracking.note(position, stepEnd - position, mayWait: true) == .noted else {
      usleep(200)
      return WriteRun(.unknown, length: 1, diskOffset: position)
    }
    return try leaf.zero(at: position, limit: stepEnd - position)
  }

  /// Bytes: the largest block of a VHDX (2.6.2.1), of which that of a VHD is a part.
  private static let largestZeroStep: UInt64 = 256 << 20

  private func writeZeros(at offset: UInt64, length: UInt64) throws(ImageError) {
    guard length > 0 else { return }
    let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(min(length, 1 << 20)), alignment: 4096)
    defer { zeros.deallocate() }
    zeros.clear()
    var done: UInt64 = 0
    while done < length {
      let count = min(UInt64(zeros.count), length - done)
      _ = try write(UnsafeRawBufferPointer(rebasing: zeros[..<Int(count)]), at: offset + done, mayWait: true)
      done += count
    }
  }
}
