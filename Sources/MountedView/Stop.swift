import CFuse
import Glibc
import LinuxSystem
import Storage
import Synchronization

/// The signals that ask a server to stop, and one that wakes its serving thread.
enum StopSignals {
  /// Interrupts the serving thread's wait; its handler does nothing.
  static let wake = SIGUSR1

  /// To be called before the first other thread begins, which inherits it: the signals are for `Stop`'s
  /// thread alone, and a broken pipe or a file that is too long is an error of the call that met it.
  static func blockInThisThread() {
    var signals = set
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    signal(SIGPIPE, SIG_IGN)
    // So is a file that would grow beyond what the process may write (ulimit -f): an error of that write, and not the
    // end of the server with everything that it has not written yet.
    signal(SIGXFSZ, SIG_IGN)
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { _ in }
    // No SA_RESTART: the interrupted call is to return.
    sigaction(wake, &action, nil)
  }

  static let asking = [SIGTERM, SIGINT, SIGHUP]

  private static var set: sigset_t {
    var signals = sigset_t()
    sigemptyset(&signals)
    for signal in asking { sigaddset(&signals, signal) }
    return signals
  }
}

/// Ends a server in an orderly way.
///
/// A signal with no raw file open ends the mount. With one open - a loop device with a mounted file system,
/// say - an end would lose what that file system still holds: then no file is opened any more, what was
/// written is flushed, and the last release ends the mount. Jobs are cancelled in each case. A second signal ends it whatever is open.
///
/// Unchecked: `thread` is set before the object is shared, and joined by its owner; the rest is atomic.
final class Stop: @unchecked Sendable {
  private let server: Server
  private let serving = pthread_self()
  private let ended = Atomic<Bool>(false)
  private let isFinished = Atomic<Bool>(false)
  private var thread: SystemThread?
  /// Readable when `lastClosed` or `finished` was added.
  private let events = linux_event_descriptor()
  private static let lastClosed: UInt64 = 1
  private static let finished: UInt64 = 1 << 32

  init(server: Server) { self.server = server }

  deinit { close(events) }

  /// The serving thread is to end.
  var hasEnded: Bool { ended.load(ordering: .acquiring) }

  func begin() {
    thread = SystemThread("signals") { [unowned self] in watch() }
    if thread == nil { server.log.warning("no room for a thread: signals are not heeded") }
  }

  /// The serving thread has ended.
  func finish() {
    isFinished.store(true, ordering: .releasing)
    linux_add_event(events, Stop.finished)
    thread?.join()
  }

  /// The last raw file was closed while the server waited for that.
  func lastFileClosed() { linux_add_event(events, Stop.lastClosed) }

  private func watch() {
    let signals = linux_signal_descriptor(StopSignals.asking, Int32(StopSignals.asking.count))
    defer { close(signals) }
    var isStopping = false
    while !isFinished.load(ordering: .acquiring) {
      var waiting = [
        pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
        pollfd(fd: events, events: Int16(POLLIN), revents: 0),
      ]
      _ = poll(&waiting, 2, -1)
      let signal = linux_take_signal(signals)
      // A terminal that goes away takes a server in the foreground with it; one in the background has none.
      if signal != 0 && (signal != SIGHUP || server.options.isForeground) {
        if isStopping {
          server.log.warning(
            "stopping now, with \(server.openFiles.count) raw files open, because of a second signal")
          end()
        } else {
          isStopping = true
          askedToStop()
        }
      }
      let what = linux_take_events(events)
      if what > 0 && what < Stop.finished {
        server.log.notice("the last raw file was closed: stopping")
        end()
      }
    }
  }

  private func askedToStop() {
    let open = server.openFiles.stop()
    server.cancelJobs(because: "asked to stop")
    if open == 0 { return end() }
    server.log.notice(
      "asked to stop: \(open) raw files are open; serving on until the last is closed, and opening no more")
    server.flushAll()
  }

  /// Unmounts, and makes the serving thread return if that alone did not.
  private func end() {
    server.flushAll()
    // Never what somebody else has mounted over this mount.
    if MountTable.top(at: server.options.mountPoint)?.isOurs == true {
      do throws(ImageError) {
        try Unmounting.unmount(server.options.mountPoint, lazily: true)
      } catch {
        server.log.warning("\(error.description)")
      }
    }
    ended.store(true, ordering: .releasing)
    // The thread may just be on its way into the wait: once is not enough.
    while !isFinished.load(ordering: .acquiring) {
      pthread_kill(serving, StopSignals.wake)
      usleep(20_000)
    }
  }
}
