import Synchronization

/// Tells when every operation that was under way at some moment has ended, without a lock on the operations' path.
///
/// An operation enters before it resolves an offset and leaves after its bytes have moved. Room that was freed in
/// epoch `e` may be handed out again from epoch `e + 2` on: the step from `e + 1` is made only when all operations
/// that entered in `e` have left, and whoever entered later could no longer find the freed room.
public final class OperationGate: Sendable {
  private let epoch = Atomic<UInt64>(0)
  private let even = Atomic<Int>(0)
  private let odd = Atomic<Int>(0)

  public init() {}

  /// Counts an operation in; pass the answer to `leave`.
  public func enter() -> UInt64 {
    while true {
      let current = epoch.load(ordering: .sequentiallyConsistent)
      count(current, 1)
      // The epoch may have moved between the two steps; then this count would be waited for by nobody.
      if epoch.load(ordering: .sequentiallyConsistent) == current { return current }
      count(current, -1)
    }
  }

  public func leave(_ entered: UInt64) {
    count(entered, -1)
  }

  /// The epoch that room freed now belongs to.
  public var current: UInt64 { epoch.load(ordering: .sequentiallyConsistent) }

  /// Moves on by one epoch if all operations of the epoch before have left; returns the epoch afterwards.
  /// Callers take turns: only one thread at a time may call this.
  @discardableResult
  public func advance() -> UInt64 {
    let now = epoch.load(ordering: .sequentiallyConsistent)
    guard inside(now &+ 1) == 0 else { return now }
    epoch.store(now &+ 1, ordering: .sequentiallyConsistent)
    return now &+ 1
  }

  private func count(_ epoch: UInt64, _ change: Int) {
    if epoch & 1 == 1 {
      odd.add(change, ordering: .sequentiallyConsistent)
    } else {
      even.add(change, ordering: .sequentiallyConsistent)
    }
  }

  private func inside(_ epoch: UInt64) -> Int {
    epoch & 1 == 1
      ? odd.load(ordering: .sequentiallyConsistent) : even.load(ordering: .sequentiallyConsistent)
  }
}
