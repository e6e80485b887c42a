import Glibc
import Storage

/// A read or write that may have to wait, on its way to a worker.
struct TransferJob {
  enum Kind { case read, write }
  var kind: Kind
  /// The request writes with O_DSYNC or O_SYNC: durable before the answer.
  var isSynchronous = false
  var request: Request
  /// The kernel does not release a file while a request on it is under way, so no reference is counted here.
  var file: Unmanaged<RawFile>
  var offset: UInt64
  var length: Int
  /// A write's bytes, and the receive buffer they lie in, which the worker gives back.
  var bytes: UnsafeRawPointer?
  var receiveBuffer: UnsafeMutableRawPointer?
}

/// A fixed number of threads that carry out what would have held the serving thread up.
///
/// A ring of jobs, bounded: whoever adds to a full one waits. Nothing is allocated for a job.
///
/// Unchecked: the ring and its counters are only touched under the monitor.
final class TransferWorkers: @unchecked Sendable {
  private let monitor = Monitor()
  private let ring: UnsafeMutablePointer<TransferJob>
  private let capacity = 1024
  private var first = 0
  private var count = 0
  private var isClosing = false
  private var threads: [SystemThread] = []
  private let number: Int
  private let buffers: ReceiveBuffers

  init(threads: Int, buffers: ReceiveBuffers) {
    ring = .allocate(capacity: capacity)
    self.buffers = buffers
    number = threads
  }

  deinit { ring.deallocate() }

  /// Errors: `.outOfMemory` when the system has no room for the threads; `finish` is to be called then too.
  func begin() throws(ImageError) {
    for index in 0..<number {
      guard let thread = SystemThread("transfer-\(index)", { [unowned self] in work() }) else {
        throw ImageError(.outOfMemory, "the system has no room for the threads of a mount")
      }
      threads.append(thread)
    }
  }

  func add(_ job: TransferJob) {
    monitor.lock()
    while count == capacity {
      // Never more than the kernel's own bound in practice; then the serving thread waits for a worker.
      monitor.unlock()
      usleep(200)
      monitor.lock()
    }
    (ring + (first + count) % capacity).initialize(to: job)
    count += 1
    monitor.signal()
    monitor.unlock()
  }

  /// Carries out what was added, and ends the threads.
  func finish() {
    monitor.locked {
      isClosing = true
      monitor.broadcast()
    }
    for thread in threads { thread.join() }
    threads = []
  }

  private func next() -> TransferJob? {
    monitor.locked {
      while count == 0 {
        if isClosing { return nil }
        monitor.wait()
      }
      let job = (ring + first).move()
      first = (first + 1) % capacity
      count -= 1
      return job
    }
  }

  private func work() {
    let length = ReceiveBuffers.largestTransfer
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 4096)
    defer { buffer.deallocate() }
    while let job = next() {
      job.file._withUnsafeGuaranteedRef { file in
        switch job.kind {
        case .read:
          let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<job.length])
          file.readWaiting(into: target, at: job.offset, job.request)
        case .write:
          let bytes = UnsafeRawBufferPointer(start: job.bytes, count: job.length)
          file.writeWaiting(bytes, at: job.offset, synchronous: job.isSynchronous, job.request)
        }
      }
      if let used = job.receiveBuffer { buffers.giveBack(used) }
    }
  }
}
