import CFuse
import Glibc
import ImageManagement
import Logging
import Storage
import Synchronization
import VirtualDisk

/// Answers the kernel's requests about one mount.
///
/// One thread receives, and answers at once whatever takes no waiting: reads and writes of bytes that are in
/// the page cache, names, attributes. Threads that wake each other for that would cost ten times the work.
/// What may wait goes to `transfers` (reads and writes) or `tasks` (opening, flushing, zeroing, rendering).
///
/// Unchecked: the members under "The serving thread's own" are touched by that thread only; all else is
/// constant, or safe by itself.
final class Server: @unchecked Sendable {
  let options: MountOptions
  let library: DiskLibrary
  let tree = Tree()
  let attributes: Attributes
  let log: Logger
  let openFiles = OpenFiles()
  let answers = OpenAnswers()
  /// Held by who looks at the SOURCEs.
  let sourcesLook = Mutex<Void>(())
  let jobs = JobList()
  let kernelTimeout = KernelTimeout()
  let writers: OperationWriters
  /// What the operation files begin, in the order of `Operations.all`.
  let operations: [any Operation.Type]

  let buffers = ReceiveBuffers()
  let transfers: TransferWorkers
  let tasks: TaskWorkers

  let connection = Connection()
  private let lastFileClosedAction = Mutex<(@Sendable () -> Void)?>(nil)
  private let firstLoss = Mutex<ImageError?>(nil)

  // MARK: The serving thread's own

  var receiving: UnsafeMutableRawPointer
  /// The bytes of answers to reads.
  let answer = UnsafeMutableRawBufferPointer.allocate(
    byteCount: ReceiveBuffers.largestTransfer, alignment: 4096)
  var slowWrites = SlowWrites()

  init(
    options: MountOptions, library: DiskLibrary, log: Logger,
    operations: [any Operation.Type] = Operations.all
  ) {
    self.operations = operations
    writers = OperationWriters(log: log)
    self.options = options
    self.library = library
    self.log = log
    attributes = Attributes(
      owner: options.owner ?? getuid(), group: options.group ?? getgid(), mask: options.mask,
      mounted: Int64(time(nil)) * 1_000_000_000)
    transfers = TransferWorkers(threads: 8, buffers: buffers)
    tasks = TaskWorkers(threads: 4)
    receiving = buffers.take()
  }

  deinit {
    answer.deallocate()
  }

  /// Sets what happens when the last raw file is closed while the server is stopping.
  func onLastFileClosed(_ action: @escaping @Sendable () -> Void) {
    lastFileClosedAction.withLock { $0 = action }
  }

  func lastFileClosed() {
    lastFileClosedAction.withLock { $0 }?()
  }

  /// The first failure to bring home what was written to a disk that was then closed; nil when there was none.
  ///
  /// Those who wait for the end of the mount are told: whoever closed the disk may not have been, as a loop
  /// device is not.
  var loss: ImageError? { firstLoss.withLock { $0 } }

  func noteLoss(_ error: ImageError) {
    firstLoss.withLock { $0 = $0 ?? error }
  }

  /// Makes durable what was written to every disk that is open for writing. Failures are noted and logged.
  func flushAll() {
    for disk in openFiles.disks {
      do throws(ImageError) {
        try disk.flush()
      } catch {
        log.error("\(error.description)")
      }
    }
  }
}
