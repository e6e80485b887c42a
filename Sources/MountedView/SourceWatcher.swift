import Glibc
import LinuxSystem
import Storage
import Synchronization

/// Notices images that come, go and change, and tells the kernel what it must not believe any longer.
///
/// The system tells of changes in the SOURCE directories (inotify), and they are looked at every two seconds
/// besides, because network file systems tell nothing, and a program that keeps a file open tells nothing
/// either. Such a look costs a `stat` a file: only what has changed is opened.
///
/// This has a thread of its own because the kernel may hold a lock, while it takes such a notice, for which
/// it waits for an answer from the server.
///
/// Unchecked: `thread` is set before the object is shared, and joined by its owner; the rest is constant.
final class SourceWatcher: @unchecked Sendable {
  private let server: Server
  private let notices = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
  private let events = linux_event_descriptor()
  private let isFinished = Atomic<Bool>(false)
  private var thread: SystemThread?

  /// Milliseconds.
  private static let pause: Int32 = 2000
  /// After the first notice of several, so that they are looked at together.
  private static let settling: Int32 = 50

  init(server: Server) {
    self.server = server
    let wanted = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB
    for path in server.library.watchedDirectories {
      // Where the system cannot watch, the look every two seconds must do.
      _ = inotify_add_watch(notices, path, UInt32(wanted))
    }
  }

  deinit {
    close(events)
    if notices >= 0 { close(notices) }
  }

  func begin() {
    thread = SystemThread("sources") { [unowned self] in watch() }
    if thread == nil { server.log.warning("no room for a thread: images that come and go are not noticed") }
  }

  func finish() {
    isFinished.store(true, ordering: .releasing)
    linux_add_event(events, 1)
    thread?.join()
  }

  private func watch() {
    while !isFinished.load(ordering: .acquiring) {
      var descriptors = [
        pollfd(fd: events, events: Int16(POLLIN), revents: 0),
        pollfd(fd: notices, events: Int16(POLLIN), revents: 0),
      ]
      _ = poll(&descriptors, 2, SourceWatcher.pause)
      if descriptors[1].revents != 0 {
        _ = poll(&descriptors, 1, SourceWatcher.settling)
        drain()
      }
      if isFinished.load(ordering: .acquiring) { return }
      server.lookAtSources()
    }
  }

  private func drain() {
    withUnsafeTemporaryAllocation(byteCount: 1 << 14, alignment: 8) { buffer in
      while read(notices, buffer.baseAddress, buffer.count) > 0 {}
    }
  }
}
