import Glibc
import ImageManagement
import LinuxSystem
import Logging
import Storage
import Synchronization

/// Those who wait for jobs in a write, and the thread that looks after them: a wait that was bounded ends, and a caller
/// that is sent a signal which means an end has its job cancelled.
///
/// The kernel tells of a caller's first signal only, whichever that is (a resized terminal, say); from then on the caller's
/// pending signals are looked at ten times a second. The thread sleeps while there is nothing to look after.
///
/// Unchecked: `thread` is touched by `begin` and `finish` only, which the owner calls in this order.
final class OperationWriters: @unchecked Sendable {
  /// Milliseconds between two looks.
  private static let pause: Int32 = 100
  /// Nanoseconds after a cancel within which the caller is answered, whether the job has come to a safe point or not: with
  /// the pause before, less than the second that is promised.
  private static let patience: UInt64 = 750_000_000

  private struct Waiting {
    let writer: OperationWriter
    /// When its job was cancelled for it.
    var cancelled: UInt64?
  }

  private let waiting = Mutex<[ObjectIdentifier: Waiting]>([:])
  private let events = linux_event_descriptor()
  private let isFinished = Atomic<Bool>(false)
  private var thread: SystemThread?
  private let log: Logger
  /// Keeps the sentence for the image's `error`.
  private let note = Mutex<(@Sendable (String, ImageError) -> Void)?>(nil)

  init(log: Logger) { self.log = log }

  deinit { close(events) }

  /// Errors: `.outOfMemory`.
  func begin(note: @escaping @Sendable (String, ImageError) -> Void) throws(ImageError) {
    self.note.withLock { $0 = note }
    thread = SystemThread("writers") { [unowned self] in watch() }
    guard thread != nil else {
      throw ImageError(.outOfMemory, "the system has no room for the threads of a mount")
    }
  }

  /// Everybody was answered.
  func finish() {
    isFinished.store(true, ordering: .releasing)
    linux_add_event(events, 1)
    thread?.join()
    thread = nil
  }

  func add(_ writer: OperationWriter) {
    waiting.withLock { $0[ObjectIdentifier(writer)] = Waiting(writer: writer) }
    writer.noticeInterrupts(events)
  }

  /// The writer's job was checked and begins. From here on `async` and `wait=` count: what was wrong has been said.
  func jobBegins(for writer: OperationWriter) {
    if writer.isAsynchronous { return answer(writer, nil) }
    guard let longestWait = writer.longestWait else { return }
    if longestWait == 0 { return giveUp(writer) }
    writer.beginWait()
    linux_add_event(events, 1)
  }

  /// Gives the one answer; another one before counts.
  func answer(_ writer: OperationWriter, _ code: Int32?) {
    waiting.withLock { $0[ObjectIdentifier(writer)] = nil }
    writer.answer(code)
  }

  private func watch() {
    var mustLook = false
    while !isFinished.load(ordering: .acquiring) {
      var descriptor = pollfd(fd: events, events: Int16(POLLIN), revents: 0)
      // While callers are looked at, an event is no reason to look earlier.
      if mustLook { usleep(useconds_t(OperationWriters.pause) * 1000) } else { _ = poll(&descriptor, 1, -1) }
      _ = linux_take_events(events)
      mustLook = look()
    }
  }

  /// True when somebody must be looked at again.
  private func look() -> Bool {
    let now = monotonicNanoseconds()
    var mustLook = false
    for entry in waiting.withLock({ Array($0.values) }) {
      let writer = entry.writer
      if let cancelled = entry.cancelled {
        if now - min(cancelled, now) >= OperationWriters.patience { leave(writer) } else { mustLook = true }
      } else if let deadline = writer.deadline, now >= deadline {
        giveUp(writer)
      } else if writer.isInterrupted.load(ordering: .acquiring) {
        mustLook = true
        if CallerSignals.wantEnd(ofThread: writer.caller) { cancel(writer, now) }
      } else if writer.deadline != nil {
        mustLook = true
      }
    }
    return mustLook
  }

  private func cancel(_ writer: OperationWriter, _ now: UInt64) {
    guard let job = writer.job.withLock({ $0 }) else { return }
    job.cancel()
    log.notice("\(escaped(writer.image)): \(job.holder) is cancelled by a signal to who waited for it")
    waiting.withLock { $0[ObjectIdentifier(writer)]?.cancelled = now }
  }

  /// `wait=` has passed.
  private func giveUp(_ writer: OperationWriter) {
    let job = writer.job.withLock { $0?.holder ?? "a job" }
    say(
      writer,
      ImageError(
        .timeout,
        "\(escaped(writer.image)): \(job) had not ended after \(writer.longestWait ?? 0) s, and goes on; read control/job"
      ))
  }

  /// A signal came, and the job takes its time to come to a safe point.
  private func leave(_ writer: OperationWriter) {
    let job = writer.job.withLock { $0 }
    let fate =
      job?.state == .new
      ? "was cancelled while it was being checked" : "was cancelled, and ends at its next safe point"
    say(
      writer,
      ImageError(
        errno: .canceled,
        "\(escaped(writer.image)): \(job?.holder ?? "a job") \(fate); read control/job"))
  }

  private func say(_ writer: OperationWriter, _ error: ImageError) {
    note.withLock { $0 }?(writer.image, error)
    answer(writer, error.replyToWriter)
  }
}
