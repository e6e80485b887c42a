import Glibc
import Storage
import Synchronization
import VirtualDisk

/// The jobs of a mount: those that run, one an image at most, and those that ended in the last five minutes.
///
/// A job belongs to the file that it was begun on. A file that gets that one's name later does not get its job.
///
/// A job has a thread of its own from its check to its end, because it may take hours; so many run at a time that threads
/// and the host's disks do not suffer. All methods may be called from any thread; those that say so wait.
public final class JobList: Sendable {
  /// Jobs at a time.
  public static let limit = 16
  /// Nanoseconds for which a job is shown after its end, whether its image is there or not.
  static let keptFor: UInt64 = 300 * 1_000_000_000
  /// Ended jobs that are kept at most; the oldest go first.
  static let keptAtMost = 1024

  /// What a job's observer is told. It is called on the job's thread, with no lock held.
  public enum Event: Sendable {
    /// It was checked, and runs from now on.
    case started
    /// It was not begun; there is no such job any more.
    case refused(ImageError)
    case ended
  }

  private struct State {
    var lastID: UInt64 = 0
    /// By the file: new, starting and running ones.
    var underway: [FileIdentity: Job] = [:]
    /// All that were checked, oldest first.
    var listed: [Job] = []
    /// Threads that have not come to their end; with the observers' work.
    var threads = 0
    var isStopping = false
  }

  private let state = Mutex(State())
  private let clock: JobClock

  public convenience init() {
    self.init(
      clock: JobClock(wallTime: { nanoseconds(CLOCK_REALTIME) }) { UInt64(nanoseconds(CLOCK_MONOTONIC)) })
  }

  init(clock: JobClock) { self.clock = clock }

  // MARK: - Looking

  /// Those that are shown, oldest first.
  public var jobs: [Job] {
    let now = clock.monotonic()
    return state.withLock { state in
      JobList.prune(&state, now)
      return state.listed
    }
  }

  public func job(_ id: UInt64) -> Job? { jobs.first { $0.id == id } }

  /// The one that is under way, or else the last that is shown, of a file that the mount shows; with `operation`, of that
  /// kind.
  public func last(of file: FileIdentity, operation: String? = nil) -> Job? {
    jobs.last { $0.isOf(file) && (operation == nil || $0.operation == operation) }
  }

  /// The same of a file that the mount showed by this name, and does not any more.
  public func last(ofGone file: FileIdentity, named image: String, operation: String? = nil) -> Job? {
    jobs.last {
      $0.file == file && $0.image.isExactly(image) && (operation == nil || $0.operation == operation)
    }
  }

  /// Whether there is one, be it only being checked, of a file that the mount showed by this name.
  public func hasJob(ofGone file: FileIdentity, named image: String) -> Bool {
    last(ofGone: file, named: image) != nil || underway(on: file)?.image.isExactly(image) == true
  }

  /// The one that is under way, be it only being checked.
  public func underway(on file: FileIdentity) -> Job? { state.withLock { $0.underway[file] } }

  /// Takes note of the files that the mount shows now: jobs say whether theirs is still there.
  public func noteFiles(of images: [ImageEntry]) {
    let jobs = state.withLock { state in
      // Those that are being checked are not listed yet.
      state.listed + state.underway.values.filter { $0.state == .new }
    }
    if jobs.isEmpty { return }
    let files = Set(images.lazy.map(\.identity))
    for job in jobs { job.note(fileIsThere: files.contains(job.file)) }
  }

  private static func prune(_ state: inout State, _ now: UInt64) {
    var surplus = state.listed.count - state.underway.count - keptAtMost
    state.listed.removeAll { job in
      guard let age = job.age(at: now) else { return false }
      surplus -= 1
      return age > keptFor || surplus >= 0
    }
  }

  // MARK: - Running

  /// Begins a job in a thread of its own. What was asked for is checked there, and the observer is told.
  ///
  /// - Parameters:
  ///   - file: what the image's name stood for when the order was given.
  ///   - confirm: asked when the operation has the image to itself, before the job is listed; its error refuses the job.
  ///
  /// Errors: `.inUse` with the job that the image has already; `.notAvailable` when too many run; ESHUTDOWN when the mount
  /// is ending; `.outOfMemory`.
  @discardableResult
  public func start(
    _ operation: any Operation.Type, _ words: OperationWords, image: String, file: FileIdentity,
    library: DiskLibrary,
    confirm: @escaping @Sendable () throws(ImageError) -> Void = {},
    observer: @escaping @Sendable (Job, Event) -> Void
  ) throws(ImageError) -> Job {
    let job = try reserve(operation, image, file)
    let request = OperationRequest(
      words: words, image: image, library: library, origin: .controlFile, holder: job.holder)
    guard
      let thread = SystemThread(
        "job-\(job.id)",
        { [self] in
          run(job, operation, request, confirm, observer)
          state.withLock { $0.threads -= 1 }
        })
    else {
      withdraw(job)
      state.withLock { $0.threads -= 1 }
      throw ImageError(.outOfMemory, "\(escaped(image)): the system has no room for the thread of a job")
    }
    thread.detach()
    return job
  }

  private func reserve(
    _ operation: any Operation.Type, _ image: String, _ file: FileIdentity
  ) throws(ImageError) -> Job {
    try state.withLock { (state) throws(ImageError) -> Job in
      guard !state.isStopping else {
        throw ImageError(
          errno: .init(rawValue: ESHUTDOWN),
          "\(escaped(image)): \(operation.word) was not begun, because the mount is ending")
      }
      if let other = state.underway[file] {
        throw ImageError(
          .inUse,
          "\(escaped(image)): is busy: \(other.holder) is running; wait for its end, or write to control/cancel"
        )
      }
      guard state.threads < JobList.limit else {
        throw ImageError(
          .notAvailable,
          "\(escaped(image)): \(operation.word) was not begun, because \(JobList.limit) jobs are running; "
            + "wait for the end of one")
      }
      state.lastID += 1
      state.threads += 1
      let job = Job(id: state.lastID, operation, image: image, file: file, clock: clock)
      state.underway[file] = job
      return job
    }
  }

  private func run(
    _ job: Job, _ operation: any Operation.Type, _ request: OperationRequest,
    _ confirm: @Sendable () throws(ImageError) -> Void, _ observer: @Sendable (Job, Event) -> Void
  ) {
    let running: any Operation
    do throws(ImageError) {
      running = try operation.init(request)
    } catch {
      withdraw(job)
      return observer(job, .refused(error))
    }
    do throws(ImageError) {
      try confirm()
    } catch {
      running.close()
      withdraw(job)
      return observer(job, .refused(error))
    }
    job.isStarting(running.link)
    state.withLock { state in
      // Checks take their time: jobs are listed by their numbers.
      let place = state.listed.firstIndex { $0.id > job.id } ?? state.listed.endIndex
      state.listed.insert(job, at: place)
    }
    observer(job, .started)
    job.isRunning()
    let result = Result { () throws(ImageError) in try running.run(job.progress) }
    running.close()
    job.end(with: result)
    withdraw(job)
    observer(job, .ended)
  }

  /// The image is free for another.
  private func withdraw(_ job: Job) {
    state.withLock { state in
      if state.underway[job.file] === job { state.underway[job.file] = nil }
    }
  }

  // MARK: - The end

  /// Begins no more, and asks all to end at the next safe point; returns those that run.
  @discardableResult
  public func cancelAll() -> [Job] {
    let jobs = state.withLock { state in
      state.isStopping = true
      return state.underway.values.sorted { $0.id < $1.id }
    }
    for job in jobs { job.cancel() }
    return jobs
  }

  /// Waits until no job runs any more, and every observer has returned.
  public func waitForEnd() {
    while state.withLock({ $0.threads > 0 }) { usleep(1000) }
  }
}

private func nanoseconds(_ clock: clockid_t) -> Int64 {
  var time = timespec()
  clock_gettime(clock, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}
