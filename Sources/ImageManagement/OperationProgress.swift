import Storage
import Synchronization
import SystemPackage

/// What a running operation and those who watch it tell each other: the bytes done and to do, and the wish that it end.
///
/// All methods may be called from any thread, and cost next to nothing.
public final class OperationProgress: Sendable {
  private let total = Atomic<UInt64>(0)
  private let done = Atomic<UInt64>(0)
  private let isCancelled = Atomic<Bool>(false)
  private let isFinished = Atomic<Bool>(false)
  /// What is never fallen behind.
  private let shown = Atomic<Int>(0)

  public init() {}

  /// Says how many bytes the whole operation has to do. Said before the first is done; work that is found later adds to it.
  public func expect(_ bytes: UInt64) { total.wrappingAdd(bytes, ordering: .relaxed) }

  /// Says that so many bytes more are done; in steps of 1 MiB or so, that a watcher sees it move.
  public func advance(by bytes: UInt64) { done.wrappingAdd(bytes, ordering: .relaxed) }

  /// Says that all is done.
  public func finish() { isFinished.store(true, ordering: .relaxed) }

  /// Bytes done, and bytes to do as far as is known.
  public var bytes: (done: UInt64, total: UInt64) {
    let total = total.load(ordering: .relaxed)
    return (min(done.load(ordering: .relaxed), total), total)
  }

  /// 0 to 100, never falling; 100 only when all is done.
  public var percent: Int {
    if isFinished.load(ordering: .relaxed) { return 100 }
    let (done, total) = bytes
    let now = total == 0 ? 0 : min(99, Int(Double(done) / Double(total) * 100))
    return max(now, shown.max(now, ordering: .relaxed).newValue)
  }

  /// Asks the operation to end at the next place where that is safe.
  public func cancel() { isCancelled.store(true, ordering: .relaxed) }

  /// Somebody wants it to end.
  public var isCancelWanted: Bool { isCancelled.load(ordering: .relaxed) }

  /// Called by the operation where it can end and leave everything valid; at least four times a second.
  ///
  /// Errors: ECANCELED when somebody wants it to end.
  public func failIfCancelled(_ what: @autoclosure () -> String) throws(ImageError) {
    guard isCancelled.load(ordering: .relaxed) else { return }
    throw ImageError(.failed, errno: Errno(rawValue: 125), "\(what()): was cancelled; it can be run again")
  }
}
