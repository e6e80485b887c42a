import Glibc
import LinuxSystem

/// A thread of the system's that runs `body` once.
///
/// Unchecked: the identifier is written before anybody else sees the object, and `join` or `detach` is called
/// once, by its owner.
package final class SystemThread: @unchecked Sendable {
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
  package init?(_ name: String, _ body: @escaping @Sendable () -> Void) {
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

  package func join() { pthread_join(identifier, nil) }

  /// Nobody will join it: what it holds is given back at its end.
  package func detach() { pthread_detach(identifier) }

  /// Makes a system call in which the thread waits return with EINTR, given a handler that does nothing.
  package func interrupt(with signal: Int32) { pthread_kill(identifier, signal) }
}
