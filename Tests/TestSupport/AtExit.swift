import Glibc
import Synchronization

/// What is to be removed when the test process ends.
private let leftovers = Mutex<[String]>([])
private let registered: Bool =
  atexit {
    for path in leftovers.withLock({ $0 }) { _ = try? run(["rm", "-rf", "--one-file-system", path]) }
  } == 0

/// Removes a directory when the process ends.
func atexitRemove(_ path: String) {
  _ = registered
  leftovers.withLock { $0.append(path) }
}
