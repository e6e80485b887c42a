import Glibc
import Synchronization

/// Keeps writes apart that share a sector of a differencing disk.
///
/// A write that fills only a part of a sector which is still the parent's must read the sector, change it and write it whole.
/// Another write into the same sector in between would be lost. Such writes are rare (block devices write whole sectors),
/// so they simply have the disk's writes to themselves: whole-sector writes are counted, partial ones wait until
/// none is under way, and keep new ones out.
final class SectorGate: Sendable {
  private let wholeWriters = Atomic<Int>(0)
  private let isExclusive = Atomic<Bool>(false)
  private let partialWriters = Mutex<Void>(())

  /// Counts a whole-sector write in; false when a partial one is under way and `mayWait` is false.
  func enter(mayWait: Bool) -> Bool {
    while true {
      wholeWriters.add(1, ordering: .sequentiallyConsistent)
      if !isExclusive.load(ordering: .sequentiallyConsistent) { return true }
      wholeWriters.subtract(1, ordering: .sequentiallyConsistent)
      guard mayWait else { return false }
      usleep(50)
    }
  }

  func leave() { wholeWriters.subtract(1, ordering: .sequentiallyConsistent) }

  /// Runs `body` while no other write is under way. Waits.
  func exclusively<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure) {
    try partialWriters.withLock { (_) throws(Failure) in
      isExclusive.store(true, ordering: .sequentiallyConsistent)
      defer { isExclusive.store(false, ordering: .sequentiallyConsistent) }
      while wholeWriters.load(ordering: .sequentiallyConsistent) > 0 { usleep(50) }
      try body()
    }
  }
}
