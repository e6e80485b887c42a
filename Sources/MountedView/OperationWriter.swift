import CFuse
import Glibc
import ImageManagement
import LinuxSystem
import Storage
import Synchronization

/// Somebody who has written to an operation file and waits for the answer: to be given exactly once.
final class OperationWriter: Sendable {
  let isAsynchronous: Bool
  /// `wait=`, in seconds from the start of the job on: until then the checks decide, which take 2 s at most.
  let longestWait: UInt64?
  let image: String
  /// The job, as soon as there is one.
  let job = Mutex<Job?>(nil)
  /// Some signal came to the caller since it waits.
  let isInterrupted = Atomic<Bool>(false)
  /// The thread that called; 0 where this process cannot see it.
  let caller: Int32

  private let request: Request
  private let count: Int
  private let isAnswered = Atomic<Bool>(false)
  /// On the monotonic clock; `.max`: none (yet).
  private let latestAnswer = Atomic<UInt64>(.max)
  /// Where to tell of an interrupt.
  private let events = Atomic<Int32>(-1)

  init(_ request: Request, _ count: Int, _ order: JobOrder, _ image: String) {
    self.request = request
    self.count = count
    self.image = image
    isAsynchronous = order.isAsynchronous
    longestWait = order.longestWait
    caller = fuse_req_ctx(request.pointer).map { Int32($0.pointee.pid) } ?? 0
  }

  /// When it is answered at the latest, on the monotonic clock; nil: when the job has ended, or was refused.
  var deadline: UInt64? {
    let latest = latestAnswer.load(ordering: .acquiring)
    return latest == .max ? nil : latest
  }

  /// The job runs from now on, and is waited for.
  func beginWait() {
    guard let longestWait else { return }
    latestAnswer.store(monotonicNanoseconds() + longestWait * 1_000_000_000, ordering: .releasing)
  }

  /// From now on an interrupt is noticed, an earlier one too, and told by `events`. To be called once, before `answer` can
  /// be.
  func noticeInterrupts(_ events: Int32) {
    self.events.store(events, ordering: .relaxed)
    // The reference is given back by `answer`.
    let reference = Unmanaged.passRetained(self).toOpaque()
    fuse_req_interrupt_func(
      request.pointer,
      { _, reference in
        // libfuse holds a lock of the request: nothing is answered here.
        guard let reference else { return }
        Unmanaged<OperationWriter>.fromOpaque(reference)._withUnsafeGuaranteedRef { writer in
          writer.isInterrupted.store(true, ordering: .releasing)
          linux_add_event(writer.events.load(ordering: .relaxed), 1)
        }
      }, reference)
  }

  /// Answers that the line was taken, or with an errno; false when it was answered before. Not to be called where libfuse
  /// tells of an interrupt.
  @discardableResult
  func answer(_ code: Int32?) -> Bool {
    guard !isAnswered.exchange(true, ordering: .acquiringAndReleasing) else { return false }
    // Waits for a notice that is being given at this moment; there is none after it.
    fuse_req_interrupt_func(request.pointer, nil, nil)
    if let code { request.fail(code) } else { request.replyWritten(count) }
    Unmanaged.passUnretained(self).release()
    return true
  }
}
