import Storage
import VirtualDisk

/// A mode of compaction, as the program has them, with what file systems would say to be free.
package struct Compacting: Sendable {
  /// 0 to 4: full, quick, retrim, pretrimmed, prezeroed.
  package var mode: Int
  package var free: [Range<Int>]
  /// Bytes of blocks that share a commit.
  package var batch: Int

  package init(_ mode: Int, free: [Range<Int>] = [], batch: Int = 1) {
    self.mode = mode
    self.free = mode < 3 ? free : []
    self.batch = batch
  }

  private var choice: CompactionChoice {
    CompactionChoice(
      scansForZeros: mode == 0 || mode == 4, usesTables: mode != 2, trims: mode == 2, moves: mode != 2)
  }

  /// Closes the disk, looks what can be done, and says what will read as zero then.
  package func plan(_ disk: VirtualDisk) throws(ImageError) -> (plan: CompactionPlan, zeroed: [Range<Int>]) {
    let ranges = free.map { UInt64($0.lowerBound)..<UInt64($0.upperBound) }
    let plan = try disk.planCompaction(
      choice, free: FreeRanges(ranges), batch: UInt64(batch), .silent)
    return (plan, plan.changedRanges.map { Int($0.lowerBound)..<Int($0.upperBound) })
  }

  @discardableResult
  package func run(_ plan: CompactionPlan, _ disk: VirtualDisk) throws(ImageError) -> CompactionOutcome {
    try disk.compact(plan, batch: UInt64(batch), .silent)
  }
}
