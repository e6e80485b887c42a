import Synchronization

/// How many control files are open: each holds its answer, which may be long, until it is closed.
final class OpenAnswers: Sendable {
  /// The answer about a chain of 256 files has some hundred kilobytes.
  static let limit = 4096

  private let count = Atomic<Int>(0)

  /// One of the answers that may be open; given back when nobody holds it any more.
  final class Seat: Sendable {
    private let answers: OpenAnswers

    fileprivate init(_ answers: OpenAnswers) { self.answers = answers }
    deinit { answers.count.subtract(1, ordering: .relaxed) }
  }

  /// Nil when there are as many as may be.
  func seat() -> Seat? {
    if count.add(1, ordering: .relaxed).newValue <= OpenAnswers.limit { return Seat(self) }
    count.subtract(1, ordering: .relaxed)
    return nil
  }
}
