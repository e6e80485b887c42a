import Dispatch
import Storage
import Synchronization

/// What is done for writable disks in the background: committing what has waited for 5 seconds or filled the log, and
/// looking through block tables for free room once writing has begun.
///
/// Nothing runs while no disk is watched.
final class Maintenance: Sendable {
  private struct State {
    var disks: [ObjectIdentifier: Watched] = [:]
    var isTicking = false
    var isStopped = false
  }

  private struct Watched {
    let disk: VirtualDisk
    /// When changes were first seen waiting.
    var waitingSince: DispatchTime?
    /// When the block table is to be looked through; nil: not any more in this session.
    var scanDue: DispatchTime? = .now()
    var marksCleared = DispatchTime.now()
  }

  /// Changes are committed when they have waited for so long; some ticks before the promised 5 seconds.
  private static let longestWait = DispatchTimeInterval.milliseconds(3500)
  private static let tick = DispatchTimeInterval.milliseconds(500)
  /// A table that the host could not read is looked through again after so long.
  private static let scanPause = DispatchTimeInterval.seconds(30)
  /// A region of the disk that nobody wrote to for so long loses its mark.
  private static let quietTime = DispatchTimeInterval.seconds(30)

  private let state = Mutex(State())
  private let isWoken = Atomic<Bool>(false)
  private let queue = DispatchQueue(label: "vhdfs.maintenance")

  func watch(_ disk: VirtualDisk) {
    let mustStart = state.withLock { (state) -> Bool in
      let key = ObjectIdentifier(disk)
      if state.disks[key] == nil { state.disks[key] = Watched(disk: disk) }
      defer { state.isTicking = true }
      return !state.isTicking
    }
    if mustStart { schedule() }
  }

  func forget(_ disk: VirtualDisk) {
    state.withLock { $0.disks[ObjectIdentifier(disk)] = nil }
  }

  func stop() {
    state.withLock { $0.isStopped = true }
  }

  /// Something wants to be committed soon. Cheap, and may be called at each write.
  func wake() {
    guard !isWoken.exchange(true, ordering: .relaxed) else { return }
    queue.async { self.work() }
  }

  private func schedule() {
    queue.asyncAfter(deadline: .now() + Maintenance.tick) {
      self.work()
      let goesOn = self.state.withLock { (state) -> Bool in
        state.isTicking = !state.disks.isEmpty && !state.isStopped
        return state.isTicking
      }
      if goesOn { self.schedule() }
    }
  }

  private func work() {
    isWoken.store(false, ordering: .relaxed)
    let disks = state.withLock { $0.isStopped ? [] : Array($0.disks.values) }
    for watched in disks {
      let leaf = watched.disk.leaf
      guard leaf.isWriting else {
        update(watched) { $0.scanDue = .now() }
        continue
      }
      // An error shows at the next flush, which the user asked for and waits for.
      if leaf.hasUncommittedChanges {
        let since = watched.waitingSince ?? .now()
        let isDue = leaf.wantsCommit || DispatchTime.now() >= since + Maintenance.longestWait
        if isDue { try? leaf.commit() }
        update(watched) { $0.waitingSince = isDue ? nil : since }
      } else {
        update(watched) { $0.waitingSince = nil }
      }
      if let due = watched.scanDue, DispatchTime.now() >= due {
        let next = scan(leaf)
        update(watched) { $0.scanDue = next }
      }
      leaf.reclaimRoom()
      if DispatchTime.now() >= watched.marksCleared + Maintenance.quietTime {
        // A mark that stays is never wrong.
        try? watched.disk.tracking.clearQuietMarks(leaf)
        update(watched) { $0.marksCleared = .now() }
      }
    }
  }

  /// Returns when it is to be done again; nil: not any more.
  private func scan(_ leaf: Layer) -> DispatchTime? {
    do throws(ImageError) {
      try leaf.scanSpace()
    } catch {
      // What is wrong with the table the next write is told.
      if error.returnValue != .wrongDataType { return .now() + Maintenance.scanPause }
    }
    return nil
  }

  private func update(_ watched: Watched, _ change: (inout Watched) -> Void) {
    state.withLock { state in
      if var current = state.disks[ObjectIdentifier(watched.disk)] {
        change(&current)
        state.disks[ObjectIdentifier(watched.disk)] = current
      }
    }
  }
}

extension Layer {
  /// Looks for free room; only VHDX keeps none in order by itself. Waits long.
  func scanSpace() throws(ImageError) {
    if case .vhdx(let image) = self { try image.scanSpace() }
  }

  func reclaimRoom() {
    if case .vhdx(let image) = self { try? image.reclaimRoom() }
  }
}
