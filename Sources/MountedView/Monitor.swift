import Glibc
import LinuxSystem

/// A mutex with one condition, for queues on which threads wait.
///
/// Unchecked: the two POSIX objects are made once, stay where they are, and are what makes concurrent use
/// safe.
final class Monitor: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  init() {
    mutex = .allocate(capacity: 1)
    condition = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    condition.initialize(to: pthread_cond_t())
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func lock() { pthread_mutex_lock(mutex) }
  func unlock() { pthread_mutex_unlock(mutex) }

  /// Gives the mutex up, waits for a signal, and takes it again; may return without one.
  func wait() { pthread_cond_wait(condition, mutex) }

  func signal() { pthread_cond_signal(condition) }
  func broadcast() { pthread_cond_broadcast(condition) }

  func locked<R>(_ body: () -> R) -> R {
    lock()
    defer { unlock() }
    return body()
  }
}

/// A thread of the system's that runs `body` once.
///
/// Unchecked: the identifier is written before anybody else sees the object, and `join` is called by its
/// owner only.
final class Thread: @unchecked Sendable {
  private var identifier = pthread_t()

  private final class Start {
    let name: String
    let body: @Sendable () -> Void
    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// - Parameter name: at most 15 bytes, as the system shows it.
  ///
  /// Nil when the system has no room for another thread.
  init?(_ name: String, _ body: @escaping @Sendable () -> Void) {
    let start = Unmanaged.passRetained(Start(name: name, body: body))
    let code = pthread_create(
      &identifier, nil,
      { argument in
        guard let argument else { return nil }
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        linux_name_thread(start.name)
        start.body()
        return nil
      }, start.toOpaque())
    if code != 0 {
      start.release()
      return nil
    }
  }

  func join() { pthread_join(identifier, nil) }

  /// Makes a system call in which the thread waits return with EINTR, given a handler that does nothing.
  func interrupt(with signal: Int32) { pthread_kill(identifier, signal) }
}
