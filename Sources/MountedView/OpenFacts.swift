/// An open control file: its contents were fixed when it was opened.
///
/// A file that takes a question in writing will set `answerStart` to the bytes written: the kernel asks for a
/// descriptor's bytes from its position, which the writing has moved.
final class OpenFacts: Sendable {
  let contents: [UInt8]
  /// The position at which the first byte of the contents is read.
  let answerStart: UInt64

  private let seat: OpenAnswers.Seat?

  init(_ contents: [UInt8], answerStart: UInt64 = 0, seat: OpenAnswers.Seat? = nil) {
    self.seat = seat
    self.contents = contents
    self.answerStart = answerStart
  }

  func read(at position: UInt64, length: Int, _ request: Request) {
    guard position >= answerStart, position - answerStart < UInt64(contents.count) else {
      return request.replyEmpty()
    }
    let first = Int(position - answerStart)
    contents.withUnsafeBytes {
      request.reply(UnsafeRawBufferPointer(rebasing: $0[first..<min(first + length, $0.count)]))
    }
  }
}
