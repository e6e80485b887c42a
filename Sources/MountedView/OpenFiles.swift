import Storage
import Synchronization
import VirtualDisk

/// How many raw files are open, and whether new ones may be: what a stop of the server hangs on.
final class OpenFiles: Sendable {
  private struct State {
    var count = 0
    var isStopping = false
    var writable: [ObjectIdentifier: RawFile] = [:]
  }

  private let state = Mutex(State())

  var count: Int { state.withLock { $0.count } }

  /// Counts a file in; false when the server is stopping.
  func begin() -> Bool {
    state.withLock { state in
      if state.isStopping { return false }
      state.count += 1
      return true
    }
  }

  /// Remembers a file that can write, until `forget`.
  func remember(_ file: RawFile) {
    state.withLock { $0.writable[ObjectIdentifier(file)] = file }
  }

  func forget(_ file: RawFile) {
    state.withLock { $0.writable[ObjectIdentifier(file)] = nil }
  }

  /// The disks that are open for writing, some of them more than once.
  var disks: [VirtualDisk] { state.withLock { $0.writable.values.map(\.disk) } }

  /// Counts a file out; true when that was the last one and the server waits for it.
  func end() -> Bool {
    state.withLock { state in
      state.count -= 1
      return state.isStopping && state.count == 0
    }
  }

  /// No new files from now on; returns how many are open.
  func stop() -> Int {
    state.withLock { state in
      state.isStopping = true
      return state.count
    }
  }
}
