import Kills
import TestSupport
import Testing

extension MountTests {
  /// The short, fixed part of `make kill`.
  @Suite(.requiresLoopDevice, .requiresPrograms("qemu-img", "7z", "fio", "mkfs.ext4", "e2fsck"))
  struct KillRoundTests {
    static let series = [
      KillSeries(KillSeries.kinds[0], .records, seed: 1, kills: 2),
      KillSeries(KillSeries.kinds[1], .records, seed: 2, kills: 1),
      KillSeries(KillSeries.kinds[2], .records, seed: 3, kills: 2),
      KillSeries(KillSeries.kinds[3], .records, seed: 4, kills: 1),
      KillSeries(KillSeries.kinds[4], .records, seed: 5, kills: 1),
      KillSeries(KillSeries.kinds[1], .files, seed: 6, kills: 1),
      KillSeries(KillSeries.kinds[3], .files, seed: 7, kills: 1),
      KillSeries(KillSeries.kinds[0], .fio, seed: 8, kills: 1),
    ]

    @Test(arguments: series) func nothingDurableIsLost(series: KillSeries) throws {
      let totals = try series.run(keepingFailuresIn: "/tmp")
      #expect(totals.rounds == series.kills)
      // The writers were at work.
      #expect(series.writer == .fio ? totals.blocksCheckedByFio > 0 : totals.syncs > 0)
    }
  }
}
