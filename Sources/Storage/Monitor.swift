import Glibc

/// A mutex with one condition, for queues on which threads wait.
///
/// Unchecked: the two POSIX objects are made once, stay where they are, and are what makes concurrent use
/// safe.
package final class Monitor: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  package init() {
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

  package func lock() { pthread_mutex_lock(mutex) }
  package func unlock() { pthread_mutex_unlock(mutex) }

  /// Gives the mutex up, waits for a signal, and takes it again; may return without one.
  package func wait() { pthread_cond_wait(condition, mutex) }

  package func signal() { pthread_cond_signal(condition) }
  package func broadcast() { pthread_cond_broadcast(condition) }

  package func locked<R>(_ body: () -> R) -> R {
    lock()
    defer { unlock() }
    return body()
  }
}
