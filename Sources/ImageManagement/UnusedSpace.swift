import GuestLayout
import Storage
import VirtualDisk

/// What the file systems of a disk do not use, and what is to be said of each.
struct UnusedSpace {
  let ranges: FreeRanges
  /// For each partition: number, file system, whether its free space is known, free bytes, why not.
  let report: [[ReportField]]

  /// Nobody was asked: all is used.
  init() {
    ranges = .none
    report = []
  }

  /// Asks the file systems of `disk`, which must not change while the answer is used.
  init(of disk: VirtualDisk, _ monitor: CompactionMonitor) throws(ImageError) {
    self.init()
  }
}
