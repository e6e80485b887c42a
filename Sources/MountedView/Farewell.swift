import Glibc
import LinuxSystem
import Logging
import Storage
import Synchronization
import SystemPackage

/// Tells those who wait for a mount's end whether everything was written.
///
/// A socket with an abstract name, `vhdfs-PID`: whoever connects is told at the end, and sees the connection
/// break if the process dies before. Nothing of it is left on a disk. The word is `0`, or return value, errno
/// and sentence of an error, as on a `StatusPipe`.
///
/// Unchecked: `thread` is set before the object is shared, and joined by its owner.
final class Farewell: @unchecked Sendable {
  private let socket: Int32
  private let events = linux_event_descriptor()
  private let waiting = Mutex<[Int32]>([])
  private var thread: SystemThread?
  private static let limit = 64

  init(log: Logger) {
    socket = linux_listen(Farewell.name(of: getpid()))
    if socket < 0 {
      log.warning("nobody can wait for the end of this mount: \(Errno(rawValue: errno).description)")
    }
  }

  deinit {
    close(events)
    if socket >= 0 { close(socket) }
  }

  static func name(of process: Int32) -> String { "vhdfs-\(process)" }

  func begin() {
    guard socket >= 0 else { return }
    thread = SystemThread("farewell") { [unowned self] in accept() }
  }

  private func accept() {
    while true {
      var descriptors = [
        pollfd(fd: socket, events: Int16(POLLIN), revents: 0),
        pollfd(fd: events, events: Int16(POLLIN), revents: 0),
      ]
      _ = poll(&descriptors, 2, -1)
      // Who has connected is told, however soon after that the end comes.
      while takeNext() {}
      if descriptors[1].revents != 0 { return }
    }
  }

  /// Takes the next connection; false when there is none.
  private func takeNext() -> Bool {
    // Only this user and root: the sentence names files.
    let peer = linux_accept_from(socket, geteuid())
    guard peer >= 0 else { return errno == EACCES || errno == EINTR || errno == ECONNABORTED }
    let isTaken = waiting.withLock { waiting in
      if waiting.count < Farewell.limit { waiting.append(peer) }
      return waiting.last == peer
    }
    if !isTaken { close(peer) }
    return true
  }

  func tell(_ failure: ImageError?) {
    guard socket >= 0 else { return }
    linux_add_event(events, 1)
    thread?.join()
    let word = failure.map { "\($0.returnValue.rawValue) \($0.errno.rawValue) \($0.description)" } ?? "0"
    for peer in waiting.withLock({ $0 }) {
      _ = try? FileDescriptor(rawValue: peer).writeAll(word.utf8)
      close(peer)
    }
  }
}
