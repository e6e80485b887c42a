import Glibc
import ImageManagement
import Storage
import Synchronization

/// A control file open for writing: what is written is a question or an order, and what is read is the answer to it.
///
/// The answer begins at the position of the first read after the writing: a descriptor's position has moved by what was
/// written, and a reader who seeks back to the start gets the answer too.
final class OpenExchange: Sendable {
  enum Answer {
    case facts([UInt8])
    case stream(OpenStream)
  }

  private struct State {
    var answer: Answer?
    var start: UInt64?
  }

  /// A line that is longer than this is no question and no order.
  static let longestLine = 4096

  let image: ImageView
  let file: ControlFile
  let seat: OpenAnswers.Seat
  /// An operation was ordered on this descriptor.
  let hasTakenOrder = Atomic<Bool>(false)
  private let state = Mutex(State())

  init(image: ImageView, file: ControlFile, seat: OpenAnswers.Seat) {
    self.image = image
    self.file = file
    self.seat = seat
  }

  /// The next read begins a new answer: this one, or with nil one that is made then. Waits.
  func answer(with answer: Answer?) throws(ImageError) {
    try state.withLock { state throws(ImageError) in
      let old = state.answer
      state = State(answer: answer)
      if case .stream(let stream) = old { try stream.close() }
    }
  }

  /// Gives back what the answer holds. Waits.
  func close() throws(ImageError) { try answer(with: nil) }

  /// - Parameter make: the answer, where there is none yet.
  ///
  /// Waits.
  func read(
    at position: UInt64, length: Int, _ request: Request, make: () throws(ImageError) -> Answer
  ) {
    do throws(ImageError) {
      // Held while the medium is waited for: a question that is written meanwhile would take the disk away.
      let bytes = try state.withLock { state throws(ImageError) -> [UInt8] in
        let answer: Answer
        if let known = state.answer { answer = known } else { answer = try make() }
        state.answer = answer
        let start = state.start ?? position
        state.start = start
        guard position >= start else { return [] }
        switch answer {
        case .facts(let bytes):
          return Array(bytes.dropFirst(Int(clamping: position - start)).prefix(length))
        case .stream(let stream): return try stream.bytes(at: position - start, length: length)
        }
      }
      request.reply(bytes)
    } catch {
      image.note(error)
      request.fail(error.errno.rawValue)
    }
  }

  /// The words of a line: without the newline at its end.
  static func line(_ bytes: [UInt8]) -> String {
    var bytes = bytes[...]
    while let last = bytes.last, last == UInt8(ascii: "\n") || last == UInt8(ascii: "\r") {
      bytes.removeLast()
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
