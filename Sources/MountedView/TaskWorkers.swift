import Storage

/// A few threads for requests that open files, flush or change a disk's layout: rare, and possibly slow.
///
/// Unchecked: the queue is only touched under the monitor.
final class TaskWorkers: @unchecked Sendable {
  private let monitor = Monitor()
  private var queue: [@Sendable () -> Void] = []
  private var isClosing = false
  private var threads: [SystemThread] = []
  private let number: Int

  init(threads: Int) {
    number = threads
  }

  /// Errors: `.outOfMemory` when the system has no room for the threads; `finish` is to be called then too.
  func begin() throws(ImageError) {
    for index in 0..<number {
      guard let thread = SystemThread("task-\(index)", { [unowned self] in work() }) else {
        throw ImageError(.outOfMemory, "the system has no room for the threads of a mount")
      }
      threads.append(thread)
    }
  }

  func add(_ task: @escaping @Sendable () -> Void) {
    monitor.locked {
      queue.append(task)
      monitor.signal()
    }
  }

  /// Carries out what was added, and ends the threads.
  func finish() {
    monitor.locked {
      isClosing = true
      monitor.broadcast()
    }
    for thread in threads { thread.join() }
    threads = []
  }

  private func work() {
    while true {
      let task: (@Sendable () -> Void)? = monitor.locked {
        while queue.isEmpty {
          if isClosing { return nil }
          monitor.wait()
        }
        return queue.removeFirst()
      }
      guard let task else { return }
      task()
    }
  }
}
