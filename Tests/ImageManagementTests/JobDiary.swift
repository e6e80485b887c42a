import Glibc
import Synchronization

@testable import ImageManagement

func pause(milliseconds: UInt32) { usleep(milliseconds * 1000) }

/// What an observer was told, in words.
final class JobDiary: Sendable {
  private let words = Mutex<[String]>([])
  var lines: [String] { words.withLock { $0 } }

  func note(_ job: Job, _ event: JobList.Event) {
    let word =
      switch event {
      case .started: "started \(job.state.rawValue)"
      case .refused(let error): "refused \(error.sentence)"
      case .ended: "ended \(job.state.rawValue)"
      }
    words.withLock { $0.append(word) }
  }
}

/// A clock that is set.
final class HandClock: Sendable {
  let now = Atomic<UInt64>(1_000_000_000)
  func advance(milliseconds: UInt64) { now.add(milliseconds * 1_000_000, ordering: .relaxed) }
  var clock: JobClock {
    JobClock(
      wallTime: { 1_763_735_999_000_000_000 }, monotonic: { [self] in now.load(ordering: .relaxed) })
  }
}
