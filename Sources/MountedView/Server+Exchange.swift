import CFuse
import Glibc
import ImageManagement
import Storage
import Synchronization
import SystemPackage
import VirtualDisk

/// Control files that are written: orders, and questions whose answer is read on the same descriptor.
extension Server {
  func openExchange(
    _ request: Request, _ image: ImageView, _ query: ControlQuery, flags: Int32, _ seat: OpenAnswers.Seat
  ) {
    guard query.file.isWritable else { return request.fail(EACCES) }
    if query.file == .changes, flags & O_ACCMODE != O_RDWR {
      image.note(
        ImageError(
          .invalidParameter,
          "\(escaped(image.name)): changes: open it for reading and writing; the answer is read on the same descriptor"
        ))
      return request.fail(EINVAL)
    }
    if query.question != nil {
      image.note(
        ImageError(
          .invalidParameter,
          "\(escaped(image.name)): \(query.file.name): a name with a question is only read; write to "
            + "\(query.file.name) itself"))
      return request.fail(EINVAL)
    }
    replyOpened(request, OpenExchange(image: image, file: query.file, seat: seat))
  }

  /// One line, in one write.
  func write(_ request: Request, to exchange: OpenExchange, bytes: UnsafeRawBufferPointer) {
    guard bytes.count <= OpenExchange.longestLine else {
      exchange.image.note(
        ImageError(
          .invalidParameter,
          "\(escaped(exchange.image.name)): \(exchange.file.name): takes one line of at most "
            + "\(OpenExchange.longestLine) bytes"))
      return request.fail(EINVAL)
    }
    let line = OpenExchange.line(Array(bytes))
    let count = bytes.count
    if case .operation(let place) = exchange.file {
      return tasks.add { [unowned self] in order(request, exchange, place, line, count) }
    }
    // The kernel does not release a file while a request on it is under way.
    tasks.add { [unowned self] in
      do throws(ImageError) {
        try take(line, exchange)
        request.replyWritten(count)
      } catch {
        exchange.image.note(error)
        request.fail(error.errno.rawValue)
      }
    }
  }

  /// Waits.
  private func take(_ line: String, _ exchange: OpenExchange) throws(ImageError) {
    if exchange.file == .cancel { return try cancelJob(of: exchange.image, line) }
    // What a program writes behind its line to end it.
    if line.isEmpty { return }
    guard tree.isPresent(exchange.image) else { throw Server.isAnotherFile(exchange.image) }
    switch exchange.file {
    case .changes:
      // What was asked before holds no longer, whatever comes of this.
      try exchange.answer(with: nil)
      let stream = try openChanges(
        of: exchange.image, ControlQuery(.changes, question: line), exchange.seat)
      try exchange.answer(with: .stream(stream))
    default:
      try exchange.answer(with: nil)
      try order(line, exchange.image)
    }
  }

  /// Switches change tracking. Waits.
  private func order(_ line: String, _ image: ImageView) throws(ImageError) {
    guard let change = TrackingChange(rawValue: line.trimmed) else {
      throw ImageError(
        .invalidParameter, "\(escaped(image.name)): tracking: write on, off or reset, not \(escaped(line))")
    }
    guard !image.isUnderOrder.exchange(true, ordering: .acquiring) else {
      throw ImageError(.inUse, "\(escaped(image.name)): tracking is being switched at this moment")
    }
    defer { image.isUnderOrder.store(false, ordering: .releasing) }
    try library.setTracking(change, of: image.name)
    refreshPoints(of: image, afterChange: true)
  }

  func read(_ request: Request, from exchange: OpenExchange, at position: UInt64, length: Int) {
    tasks.add { [unowned self] in
      exchange.read(at: position, length: length, request) { () throws(ImageError) in
        guard exchange.file != .changes else {
          throw ImageError(
            .invalidParameter,
            "\(escaped(exchange.image.name)): changes: write the question first, as limit=…&offset=…")
        }
        return .facts(try contents(of: exchange.image, ControlQuery(exchange.file)))
      }
    }
  }
}

extension String {
  /// Without blanks at its ends.
  fileprivate var trimmed: String {
    var text = self[...]
    while text.first == " " { text.removeFirst() }
    while text.last == " " { text.removeLast() }
    return String(text)
  }
}
