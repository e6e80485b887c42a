import Synchronization
import TestSupport

/// What writes to a mount while its server is killed, and says afterwards what must be there.
protocol Load: AnyObject {
  /// Bytes of the disk that it wants.
  static var size: Int { get }
  /// The file of the mount to write to. Once for a new image.
  func prepare(_ disk: String) throws
  /// Begins writing and returns.
  func start(_ disk: String, _ moment: Moment) throws
  /// The next moment the server is killed: what was told to be durable until now, was told by a server that lived.
  func endIsNear()
  /// The server was killed: waits until every writer has noticed, and lets go of all that is in the dead mount.
  func stop(_ totals: inout Totals) throws
  /// Compares what a new mount shows with what must be there; that is all that may be there from then on.
  func verify(_ disk: String, _ totals: inout Totals) throws
  /// Compares what somebody else reads in a killed image.
  func verifyForeign(_ raw: String) throws
}

/// What the writers and the one who kills know of each other.
final class Moment: Sendable {
  /// Flushes, and writes that carry one, that have not returned.
  let syncsUnderWay = Atomic<Int>(0)
  let syncs = Atomic<Int>(0)
  let writes = Atomic<Int>(0)
  /// From here on failures are expected.
  let isOver = Atomic<Bool>(false)
  let failure = Mutex<String?>(nil)

  /// Does what must last when it returns.
  func durably<R>(_ body: () throws -> R) rethrows -> R {
    syncsUnderWay.add(1, ordering: .relaxed)
    defer { syncsUnderWay.subtract(1, ordering: .relaxed) }
    let result = try body()
    syncs.add(1, ordering: .relaxed)
    return result
  }

  /// A writer met an error: after the kill that is its end, before it a failure.
  func ended(_ error: any Error) {
    guard !isOver.load(ordering: .acquiring) else { return }
    failure.withLock { $0 = $0 ?? "\(error)" }
  }

  func check() throws {
    if let sentence = failure.withLock({ $0 }) { throw TestFailure("before the kill: \(sentence)") }
  }
}
