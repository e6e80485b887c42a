import ChangeTracking
import Storage

extension VirtualDisk {
  /// Bytes of blocks that share a commit while they are moved: enough that its flushes weigh little, little enough that a
  /// cancel in the middle of it ends soon.
  public static let relocationBatch: UInt64 = 64 << 20

  /// Does what a plan says, which was made of this disk a moment ago; nobody else uses the disk. The file is closed cleanly
  /// afterwards, and cut. Waits long.
  ///
  /// In order: the session begins (FileWriteGuid; DataWriteGuid only where something that is read changes); what becomes
  /// zero is recorded as changed; blocks give their room up; that is committed; blocks move, in batches, each committed; the close cuts
  /// the file. After an error, or when it is cancelled, the same close is tried: what was committed stays.
  ///
  /// - Parameter batch: bytes of blocks that share a commit, as for the plan.
  ///
  /// Errors: the host's; the monitor's.
  public func compact(
    _ plan: CompactionPlan, batch: UInt64 = VirtualDisk.relocationBatch, _ monitor: CompactionMonitor
  ) throws(ImageError) -> CompactionOutcome {
    // Where nothing is to be done, no byte changes.
    guard plan.hasWork else { return CompactionOutcome() }
    // The contents' id stays where the contents do: children go by it.
    let kept = plan.changesContents ? nil : leaf.writeIdentity
    try tracking.beginWriting(
      leaf,
      as: kept.map { ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: $0.dataWriteGUID) })
    let outcome: CompactionOutcome
    do throws(ImageError) {
      outcome = try compactInSession(plan, batch, monitor)
    } catch {
      try? finishWriting()
      throw error
    }
    try finishWriting()
    return outcome
  }

  private func compactInSession(
    _ plan: CompactionPlan, _ batch: UInt64, _ monitor: CompactionMonitor
  ) throws(ImageError) -> CompactionOutcome {
    // Before a long table was looked through no hole is known.
    try leaf.scanSpace()
    var outcome = CompactionOutcome()
    try release(plan, monitor, &outcome)
    for item in plan.trimmed {
      try trim(item, monitor)
      outcome.trimmedBytes += UInt64(item.range.count)
    }
    // Bitmaps go only when no durable table needs them.
    try leaf.commit()
    outcome.releasedBitmaps = try leaf.releaseUnusedBitmaps()
    try leaf.commit()
    guard !plan.packing.moves.isEmpty else { return outcome }
    try leaf.pack(
      plan.packing, batch: batch, RelocationMonitor(copied: monitor.advance, check: monitor.check)
    ) { moves, bytes in
      outcome.movedBlocks += moves
      outcome.movedBytes += bytes
    }
    return outcome
  }

  private func release(
    _ plan: CompactionPlan, _ monitor: CompactionMonitor, _ outcome: inout CompactionOutcome
  ) throws(ImageError) {
    guard let blockSize = leaf.compactedBlockSize else { return }
    var block: UInt64 = 0
    var part = 0
    while let next = plan.released.next(from: block) {
      block = next + 1
      try monitor.check()
      let range = (next * blockSize)..<min((next + 1) * blockSize, leaf.virtualSize)
      var changed: [Range<UInt64>] = []
      if plan.changed.contains(next), plan.zeroed.contains(next) { changed.append(range) }
      while part < plan.changedParts.count, plan.changedParts[part].lowerBound < range.upperBound {
        changed.append(plan.changedParts[part])
        part += 1
      }
      try change(changed) { () throws(ImageError) in
        try leaf.release(block: next, plan.zeroed.contains(next) ? .zero : .nothing)
      }
      outcome.releasedBlocks += 1
    }
  }

  private func trim(_ item: CompactionPlan.TrimmedRange, _ monitor: CompactionMonitor) throws(ImageError) {
    var position = item.range.lowerBound
    while position < item.range.upperBound {
      try monitor.check()
      let end = min(item.range.upperBound, position + VirtualDisk.trimStep)
      var done = position
      try change(item.isChange ? [position..<end] : []) { () throws(ImageError) in
        done = try trimStep(position..<end)
      }
      monitor.advance(done - position)
      position = done
    }
  }

  private static let trimStep: UInt64 = 64 << 20

  /// Makes the beginning of a range of the leaf's own bytes zero, and gives its room on the host back; returns how far
  /// that went. In place: the block keeps its room in the file, of which only the host's file gets holes.
  private func trimStep(_ range: Range<UInt64>) throws(ImageError) -> UInt64 {
    let run = try leaf.locate(range.lowerBound, limit: UInt64(range.count), mayWait: true)
    if run.kind == .data { try leaf.file.punch(at: run.fileOffset, length: run.length) }
    return range.lowerBound + run.length
  }

  /// Makes a change, of which readers see what becomes of `ranges`: these are recorded before.
  private func change(
    _ ranges: [Range<UInt64>], _ body: () throws(ImageError) -> Void
  ) throws(ImageError) {
    let entered = tracking.gate.enter()
    defer { tracking.gate.leave(entered) }
    for range in ranges {
      while try tracking.note(range.lowerBound, UInt64(range.count), mayWait: true) != .noted {}
    }
    try body()
  }
}

extension VirtualDisk {
  /// What the leaf's file says of itself now. Waits.
  package func leafFacts() throws(ImageError) -> ImageFacts { try leaf.facts() }
}
