import CFuse
import Glibc
import Storage

extension Server {
  /// Serves until the connection ends or `shouldEnd` says so (asked after an interrupted wait), then carries
  /// out what was begun.
  ///
  /// - Parameter whenReady: called once, when the kernel's first request has been answered.
  func serve(whenReady: () -> Void, until shouldEnd: () -> Bool) {
    var isReady = false
    while !shouldEnd() {
      switch connection.receive(into: receiving) {
      case .request(let count):
        connection.process(receiving, count)
        if connection.hasExited { return }
        if !isReady {
          isReady = true
          whenReady()
        }
      case .nothing: continue
      case .ended: return
      }
    }
  }

  /// Starts the threads for what may wait.
  func beginWorkers() throws(ImageError) {
    do throws(ImageError) {
      try transfers.begin()
      try tasks.begin()
      try writers.begin { [unowned self] name, error in tree.image(named: name)?.note(error) }
    } catch {
      finishWorkers()
      throw error
    }
  }

  /// Carries out what was handed over, and ends the threads.
  func finishWorkers() {
    transfers.finish()
    tasks.finish()
    // No order is under way any more that could begin a job; those that run end at their next safe point, and answer.
    cancelJobs(because: "the mount is ending")
    jobs.waitForEnd()
    writers.finish()
  }
}

/// Nanoseconds of a clock that only goes forward.
@inline(__always)
func monotonicNanoseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
