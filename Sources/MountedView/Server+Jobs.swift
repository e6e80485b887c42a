import CFuse
import Glibc
import ImageManagement
import Storage
import Synchronization
import SystemPackage
import VirtualDisk

/// Jobs: the directory `.jobs`, the files `job` and `cancel`, and the lines that begin one.
extension Server {
  // MARK: - `.jobs`

  /// `7`, or `7?format=json`.
  func lookupJob(_ request: Request, name: String) {
    let (digits, format): (Substring, ReportFormat)
    if let mark = name.firstIndex(of: "?") {
      switch name[mark...] {
      case "?format=json": (digits, format) = (name[..<mark], .json)
      case "?format=text": (digits, format) = (name[..<mark], .text)
      default: return request.fail(ENOENT)
      }
    } else {
      (digits, format) = (name[...], .text)
    }
    guard let id = UInt64(digits), "\(id)" == digits, jobs.job(id) != nil else { return request.fail(ENOENT) }
    let number = NodeNumber(job: id, asJSON: format == .json)
    enter(request, number, attributes.facts(number), Validity.facts)
  }

  func openJob(_ request: Request, _ id: UInt64, _ format: ReportFormat, flags: Int32) {
    guard flags & O_ACCMODE == O_RDONLY else { return request.fail(EACCES) }
    guard let job = jobs.job(id) else { return request.fail(ESTALE) }
    guard let seat = answers.seat() else { return request.fail(ENFILE) }
    replyOpened(request, OpenFacts(JobReport(job).bytes(as: format), seat: seat))
  }

  // MARK: - An image's jobs

  /// The running or the last job that the image shows; with `operation`, of that kind.
  func lastJob(of image: ImageView, operation: String? = nil) -> Job? {
    tree.isPresent(image)
      ? jobs.last(of: image.identity, operation: operation)
      : jobs.last(ofGone: image.identity, named: image.name, operation: operation)
  }

  /// Whether a control file is there: of an image that has gone those that tell of its jobs, as long as there is one.
  func shows(_ file: ControlFile, of image: ImageView) -> Bool {
    if tree.isPresent(image) { return true }
    return switch file {
    case .job, .cancel, .error: lastJob(of: image) != nil
    case .operation: lastJob(of: image, operation: file.name) != nil
    default: false
    }
  }

  // MARK: - `cancel`

  /// Asks the image's job to end at its next safe point, and does not wait for that.
  ///
  /// - Parameter line: `job=ID` means that job and no other, and may be one that was begun on a file that had the image's
  ///   name before; anything else means whichever there is.
  ///
  /// Errors: `.invalidState` when there is none.
  func cancelJob(of image: ImageView, _ line: String) throws(ImageError) {
    let isNamed = line.hasPrefix("job=")
    let job =
      isNamed
      ? jobs.jobs.first {
        "job=\($0.id)" == line && ($0.image.isExactly(image.name) || $0.file == image.identity)
      }
      : jobs.underway(on: image.identity)
    guard let job, job.cancel() else {
      throw ImageError(
        .invalidState,
        "\(escaped(image.name)): \(isNamed ? "no such job" : "no job") is running that could be cancelled")
    }
    log.notice("\(escaped(image.name)): \(job.holder) was asked to end")
  }

  // MARK: - Operation files

  /// Begins the operation that a line asks for. The answer comes when the job has ended, or as the line says.
  func order(_ request: Request, _ exchange: OpenExchange, _ place: Int, _ line: String, _ count: Int) {
    let image = exchange.image
    do throws(ImageError) {
      guard tree.isPresent(image) else { throw Server.isAnotherFile(image) }
      // What a program writes behind its line to end it is no order; an empty line that comes alone is one.
      if line.isEmpty, exchange.hasTakenOrder.load(ordering: .relaxed) { return request.replyWritten(count) }
      exchange.hasTakenOrder.store(true, ordering: .relaxed)
      try exchange.answer(with: nil)
      let order = try JobOrder(line: line)
      if !order.isAsynchronous { try kernelTimeout.failIfThereIsOne(image.name, exchange.file.name) }
      begin(place, order, image, OperationWriter(request, count, order, image.name))
    } catch {
      image.note(error)
      request.fail(error.replyToWriter)
    }
  }

  private func begin(_ place: Int, _ order: JobOrder, _ image: ImageView, _ writer: OperationWriter) {
    writers.add(writer)
    do throws(ImageError) {
      let job = try jobs.start(
        operations[place], order.words, image: image.name, file: image.identity, library: library,
        confirm: { [unowned self] () throws(ImageError) in
          // An operation goes by the name. What was there when the order was given is meant, and nothing else.
          guard try library.entry(named: image.name).identity == image.identity else {
            throw Server.isAnotherFile(image)
          }
        },
        observer: { [unowned self] job, event in follow(job, event, image, writer) })
      writer.job.withLock { $0 = job }
    } catch {
      image.note(error)
      writers.answer(writer, error.replyToWriter)
    }
  }

  /// On the job's thread.
  private func follow(_ job: Job, _ event: JobList.Event, _ image: ImageView, _ writer: OperationWriter) {
    let name = escaped(image.name)
    writer.job.withLock { $0 = job }
    switch event {
    case .started:
      log.info("\(name): \(job.holder) has begun")
      writers.jobBegins(for: writer)
    case .refused(let error):
      image.note(error)
      writers.answer(writer, error.replyToWriter)
    case .ended:
      image.partitionsMayHaveChanged.store(true, ordering: .relaxed)
      // Who is answered now may look at once: files may have come, changed or gone.
      lookAtSources()
      if let error = job.error {
        image.note(error)
        log.error("\(name): \(job.holder) \(job.state.name): \(error.description)")
      } else {
        log.info("\(name): \(job.holder) completed")
      }
      writers.answer(writer, job.error?.replyToWriter)
    }
  }

  static func isAnotherFile(_ image: ImageView) -> ImageError {
    ImageError(
      errno: .init(rawValue: ESTALE), "\(escaped(image.name)): is gone, or another file by now; open it again"
    )
  }

  // MARK: - The end

  /// Lets no job begin any more, and asks those that run to end.
  func cancelJobs(because reason: String) {
    for job in jobs.cancelAll() {
      log.notice(
        "\(reason): \(job.holder) of \(escaped(job.image)) is cancelled at its next safe point, and waited for"
      )
    }
  }
}

extension ImageError {
  /// What a write to an operation file answers; the kernel passes no other numbers on than these, and 0 is no failure.
  var replyToWriter: Int32 { (1..<512).contains(errno.rawValue) ? errno.rawValue : EIO }
}

extension ImageEntry {
  /// The same image while a job has it.
  func held(by job: Job) -> ImageEntry {
    ImageEntry(
      name: name, path: path, identity: identity, facts: facts, readOnlyReason: readOnlyReason,
      isOnline: isOnline, operation: operation ?? job.holder, validOnlyBelow: validOnlyBelow)
  }
}
