import Storage
import Synchronization
import SystemPackage

/// One run of an operation on an image of a mount.
///
/// All methods may be called from any thread, and wait for nothing.
public final class Job: Sendable {
  /// Counts up from 1 in each mount; numbers may be left out, and are never used again.
  public let id: UInt64
  /// The operation's word: `compact`.
  public let operation: String
  public let type: JobType
  /// The image's name in the mount when it was begun.
  public let image: String
  /// The file that it was begun on, whatever its name stands for by now.
  public let file: FileIdentity
  public let progress = OperationProgress()

  private struct Course {
    var state = JobState.new
    /// Nanoseconds since 1970.
    var started: Int64 = 0
    /// Nanoseconds of the list's clock.
    var began: UInt64 = 0
    var ended: UInt64?
    var error: ImageError?
    var link: OperationLink?
    var result: [ReportField] = []
  }

  /// No name of the mount stands for its file any more.
  private let hasLostFile = Atomic<Bool>(false)
  private let course: Mutex<Course>
  private let clock: JobClock

  init(id: UInt64, _ operation: any Operation.Type, image: String, file: FileIdentity, clock: JobClock) {
    self.id = id
    self.operation = operation.word
    type = operation.jobType
    self.image = image
    self.file = file
    self.clock = clock
    course = Mutex(Course(started: clock.wallTime(), began: clock.monotonic()))
  }

  /// What others are told who want the image meanwhile.
  public var holder: String { "job \(id) (\(operation))" }

  public var state: JobState { course.withLock { $0.state } }

  /// Why it failed or was cancelled; nil before its end, and when all went well.
  public var error: ImageError? { course.withLock { $0.error } }

  /// Asks it to end at the next safe point; false when it has ended already.
  @discardableResult
  public func cancel() -> Bool {
    if state.hasEnded { return false }
    progress.cancel()
    return true
  }

  // MARK: - Its file

  /// Whether an image with this file has this job. While it runs, the job holds the file; when it has ended and the file
  /// has gone, another file may have got the number.
  func isOf(_ file: FileIdentity) -> Bool {
    file == self.file && !(state.hasEnded && hasLostFile.load(ordering: .relaxed))
  }

  /// - Parameter isThere: some name of the mount stands for its file. Of a job that has ended, a file that has gone stays
  ///   gone.
  func note(fileIsThere isThere: Bool) {
    if !isThere {
      hasLostFile.store(true, ordering: .relaxed)
    } else if !state.hasEnded {
      hasLostFile.store(false, ordering: .relaxed)
    }
  }

  // MARK: - Its course, told by the list that runs it

  func isStarting(_ link: OperationLink?) {
    course.withLock {
      $0.state = .starting
      $0.link = link
    }
  }

  func isRunning() { course.withLock { $0.state = .running } }

  /// A failure counts as a cancel where somebody wanted it to end, and it ended for that reason.
  func end(with result: Result<[ReportField], ImageError>) {
    let now = clock.monotonic()
    if case .success = result { progress.finish() }
    course.withLock { course in
      course.ended = now
      switch result {
      case .success(let fields):
        course.state = .completed
        course.result = fields
      case .failure(let error):
        course.state = error.errno == .canceled && progress.isCancelWanted ? .terminated : .exception
        course.error = error
      }
    }
  }

  /// Nanoseconds since its end; nil before.
  func age(at now: UInt64) -> UInt64? { course.withLock { $0.ended.map { now >= $0 ? now - $0 : 0 } } }

  // MARK: - Facts

  /// In the documented order. What does not apply is left out.
  var fields: [ReportField] {
    let course = course.withLock { $0 }
    let elapsed = (course.ended ?? clock.monotonic()) - min(course.began, course.ended ?? .max)
    let returnValue = course.error?.returnValue ?? (course.state == .completed ? .completed : .jobStarted)
    var fields = [
      ReportField("id", .number(id)),
      ReportField("image", .text(image)),
      ReportField("operation", .text(operation)),
      ReportField("job_type", .text("\(type.rawValue) \(type.name)")),
      ReportField("job_state", .text("\(course.state.rawValue) \(course.state.name)")),
      ReportField("job_status", .text(status(course.state))),
      ReportField("percent_complete", .number(UInt64(progress.percent))),
      ReportField("return_value", .number(UInt64(returnValue.rawValue))),
      ReportField("error_code", .number(UInt64(course.error?.returnValue.rawValue ?? 0))),
    ]
    if let error = course.error {
      fields.append(ReportField("error_description", .sentence(error.description)))
    }
    if course.state.hasEnded {
      fields.append(ReportField("hresult", .text((course.error.map(HRESULT.init) ?? .ok).text)))
    }
    if course.error != nil, let link = course.link {
      fields.append(ReportField("child", .text(link.child)))
      fields.append(ReportField("parent", .text(link.parent)))
    }
    fields += [
      ReportField("start_time", .text(timeText(course.started))),
      ReportField("elapsed_time", .seconds(milliseconds: elapsed / 1_000_000)),
      ReportField("cancellable", .flag(!course.state.hasEnded)),
    ]
    return fields + course.result
  }

  private func status(_ state: JobState) -> String {
    let phrase = phrase(state)
    return hasLostFile.load(ordering: .relaxed) ? "\(phrase); its file was removed or replaced" : phrase
  }

  private func phrase(_ state: JobState) -> String {
    guard state == .running else { return state.name }
    let (done, total) = progress.bytes
    let word = progress.isCancelWanted ? "being cancelled" : "running"
    return total == 0 ? word : "\(word): \(done) of \(total) bytes"
  }
}

/// Where jobs read the time; tests have another.
struct JobClock: Sendable {
  /// Nanoseconds since 1970.
  var wallTime: @Sendable () -> Int64
  /// Nanoseconds of a clock that only goes forward.
  var monotonic: @Sendable () -> UInt64
}
