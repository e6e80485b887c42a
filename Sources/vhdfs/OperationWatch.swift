import Glibc
import ImageManagement
import LinuxSystem
import Storage
import Synchronization

/// A thread that shows how far an operation is, and cancels it when a signal asks the program to end.
///
/// Unchecked: `thread` is touched by the owner only; `display` by `begin` before it sets `hasBegun`, by the thread when that
/// is set, and by `finish` when the thread has ended.
final class OperationWatch: @unchecked Sendable {
  /// Milliseconds between two looks.
  private static let pause: Int32 = 200
  /// Seconds after the first signal in which more of them are the same wish: shells and terminals send several.
  private static let sameWish = 2.0

  private let progress: OperationProgress
  private var display: ProgressDisplay
  private let signals: EndingSignals
  private let events = linux_event_descriptor()
  private let hasBegun = Atomic<Bool>(false)
  private let isFinished = Atomic<Bool>(false)
  private let firstSignal = Atomic<Int32>(0)
  private var firstAt = 0.0
  private var thread: SystemThread?

  init(_ progress: OperationProgress, _ display: ProgressDisplay, _ signals: EndingSignals) {
    self.progress = progress
    self.display = display
    self.signals = signals
    // Signals are heeded while the operation is still being checked, too.
    thread = SystemThread("progress") { [unowned self] in watch() }
  }

  deinit { close(events) }

  /// The signal for which the operation was cancelled.
  var signal: Int32? {
    let signal = firstSignal.load(ordering: .acquiring)
    return signal == 0 ? nil : signal
  }

  /// The operation was checked, and runs from now on.
  func begin(image: String) {
    display.begin(image: image)
    hasBegun.store(true, ordering: .releasing)
  }

  /// It has ended. A second call does nothing.
  func finish() {
    isFinished.store(true, ordering: .releasing)
    linux_add_event(events, 1)
    thread?.join()
    thread = nil
    display.end()
  }

  private func watch() {
    while !isFinished.load(ordering: .acquiring) {
      var descriptors = [
        pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: events, events: Int16(POLLIN), revents: 0),
      ]
      _ = poll(&descriptors, 2, OperationWatch.pause)
      while let signal = signals.take() { take(signal) }
      if hasBegun.load(ordering: .acquiring) { display.show() }
    }
  }

  private func take(_ signal: Int32) {
    let now = monotonicSeconds()
    if self.signal == nil {
      firstAt = now
      firstSignal.store(signal, ordering: .releasing)
      progress.cancel()
      if hasBegun.load(ordering: .acquiring) { display.sayCancelling() }
    } else if now - firstAt > OperationWatch.sameWish {
      // Somebody will not wait: the image is left as after a power cut, valid.
      if hasBegun.load(ordering: .acquiring) { display.end() }
      signals.end(by: signal)
    }
  }
}

/// Seconds of a clock that only goes forward.
func monotonicSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
