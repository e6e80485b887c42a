/// Whether writes are answered on the serving thread or handed to workers.
///
/// A write into the page cache takes microseconds, until the host has too much that is not on the medium yet
/// and makes writers wait. One such wait must not hold up every reader: after a write that took long, writes
/// go to workers for a while; then one is tried again, and the while doubles as long as that one is slow too.
struct SlowWrites {
  /// Nanoseconds. The host lets a writer wait for ten milliseconds and more; a thread that lost its core to
  /// another for a while, on a busy machine, is back sooner.
  private static let slow: UInt64 = 8_000_000
  private static let firstPause: UInt64 = 50_000_000
  private static let longestPause: UInt64 = 1_000_000_000

  private var handedOverUntil: UInt64 = 0
  private var pause = SlowWrites.firstPause

  /// Times are nanoseconds of a clock that only goes forward.
  func shouldHandOver(at now: UInt64) -> Bool { now < handedOverUntil }

  mutating func note(began: UInt64, ended: UInt64) {
    if ended &- began > SlowWrites.slow {
      handedOverUntil = ended + pause
      pause = min(pause * 2, SlowWrites.longestPause)
    } else {
      pause = SlowWrites.firstPause
    }
  }
}
