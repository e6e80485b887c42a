import Storage

/// Ranges that become zero where they lie, and whose room the host gets back.
extension CompactionSurvey {
  /// Adds the free parts of what the leaf has, where they are less than whole blocks that give their room up.
  mutating func addTrimmedPieces(to plan: inout CompactionPlan, _ monitor: CompactionMonitor)
    throws(ImageError)
  {
    let leaf = disk.leaf
    var block: UInt64 = 0
    while let next = try leaf.nextBlockWithRoom(from: block) {
      block = next + 1
      if plan.released.contains(next) { continue }
      try monitor.check()
      var position = range(of: next).lowerBound
      let end = range(of: next).upperBound
      while position < end {
        let run = try leaf.locate(position, limit: end - position, mayWait: true)
        if run.kind == .data || run.kind == .logged {
          try addFreePieces(of: position..<(position + run.length), at: run.fileOffset, to: &plan, monitor)
        }
        position += run.length
      }
    }
  }

  private mutating func addFreePieces(
    of range: Range<UInt64>, at place: UInt64, to plan: inout CompactionPlan, _ monitor: CompactionMonitor
  ) throws(ImageError) {
    var rest = range
    while !rest.isEmpty {
      let piece = try free.piece(of: rest)
      rest = piece.range.upperBound..<rest.upperBound
      let start = place + (piece.range.lowerBound - range.lowerBound)
      guard piece.isFree else { continue }
      let isChange = try !disk.readsZero(piece.range, reader, check: monitor.check)
      if isChange || disk.leaf.file.holdsPages(of: start..<(start + UInt64(piece.range.count))) {
        plan.trim(piece.range, isChange: isChange)
      }
    }
  }
}

extension VirtualDisk {
  /// For a disk that lies in its file as it is: nothing moves, but what is free, or zero, need not take room on the host.
  func planTrimming(
    _ choice: CompactionChoice, _ free: FreeRanges, _ monitor: CompactionMonitor
  ) throws(ImageError) -> CompactionPlan {
    var plan = CompactionPlan(choice, blockSize: 0, diskSize: leaf.virtualSize)
    var free = free
    let reader = ZeroReader()
    if choice.scansForZeros { monitor.expect(leaf.virtualSize) }
    var position: UInt64 = 0
    while position < leaf.virtualSize {
      try monitor.check()
      let step = min(ZeroReader.step - position % ZeroReader.step, leaf.virtualSize - position)
      let run = try leaf.locate(position, limit: step, mayWait: true)
      if run.kind == .data {
        try addPieces(
          position..<(position + run.length), at: run.fileOffset, choice, &free, reader, to: &plan)
      }
      if choice.scansForZeros { monitor.advance(run.length) }
      position += run.length
    }
    return plan
  }

  /// What can be punched of up to a MiB of the disk that lies at `place` of the file.
  private func addPieces(
    _ range: Range<UInt64>, at place: UInt64, _ choice: CompactionChoice, _ free: inout FreeRanges,
    _ reader: ZeroReader, to plan: inout CompactionPlan
  ) throws(ImageError) {
    let file = leaf.file
    guard file.nextData(from: place, end: place + UInt64(range.count)) != nil else { return }
    let part = UnsafeMutableRawBufferPointer(rebasing: reader.buffer[..<range.count])
    var isRead = false
    var rest = range
    while !rest.isEmpty {
      let piece = try free.piece(of: rest)
      rest = piece.range.upperBound..<rest.upperBound
      guard piece.isFree || choice.scansForZeros else { continue }
      if !isRead {
        try file.read(into: part, at: place)
        isRead = true
      }
      let bytes = UnsafeRawBufferPointer(
        rebasing: part[
          Int(piece.range.lowerBound - range.lowerBound)..<Int(piece.range.upperBound - range.lowerBound)])
      func holdsPages(_ part: Range<UInt64>) -> Bool {
        let start = place + (part.lowerBound - range.lowerBound)
        return file.holdsPages(of: start..<(start + UInt64(part.count)))
      }
      if piece.isFree {
        let isChange = !bytes.isAllZero
        if isChange || holdsPages(piece.range) { plan.trim(piece.range, isChange: isChange) }
      } else {
        for zeros in CompactionSurvey.zeroRuns(bytes, at: piece.range.lowerBound) where holdsPages(zeros) {
          plan.trim(zeros, isChange: false)
        }
      }
    }
  }
}

extension CompactionSurvey {
  /// Shorter runs of zeros are not worth a hole in the host's file.
  private static let shortestRun: UInt64 = 64 << 10
  private static let unit = 4096

  /// Where whole pages of zeros follow one another for 64 KiB or more, or all is zero.
  static func zeroRuns(_ bytes: UnsafeRawBufferPointer, at start: UInt64) -> [Range<UInt64>] {
    if bytes.isAllZero { return [start..<(start + UInt64(bytes.count))] }
    var runs: [Range<UInt64>] = []
    var run: Range<UInt64>?
    var position = 0
    while position < bytes.count {
      let next = min(position + unit, bytes.count)
      if UnsafeRawBufferPointer(rebasing: bytes[position..<next]).isAllZero {
        run = (run?.lowerBound ?? start + UInt64(position))..<(start + UInt64(next))
      } else if let found = run {
        if UInt64(found.count) >= shortestRun { runs.append(found) }
        run = nil
      }
      position = next
    }
    if let found = run, UInt64(found.count) >= shortestRun { runs.append(found) }
    return runs
  }
}

extension HostFile {
  /// Whether the host holds room for whole pages of a range, which it would get back.
  fileprivate func holdsPages(of range: Range<UInt64>) -> Bool {
    let first = (range.lowerBound + 4095) / 4096 * 4096
    let end = range.upperBound / 4096 * 4096
    return first < end && nextData(from: first, end: end) != nil
  }
}

extension CompactionPlan {
  /// Adds a range, which follows those that were added before.
  mutating func trim(_ range: Range<UInt64>, isChange: Bool) {
    guard !range.isEmpty else { return }
    if let last = trimmed.last, last.range.upperBound == range.lowerBound, last.isChange == isChange {
      trimmed[trimmed.count - 1].range = last.range.lowerBound..<range.upperBound
    } else if trimmed.count < CompactionPlan.mostTrimmed {
      trimmed.append(TrimmedRange(range: range, isChange: isChange))
    }
  }

  /// 24 bytes each. What is more stays as it is, and is found by another run.
  private static let mostTrimmed = 1 << 22
}
