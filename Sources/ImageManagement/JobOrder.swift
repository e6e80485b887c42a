import Storage

/// What stands in a line that is written to an operation file: the words for the operation, and those for whoever waits.
public struct JobOrder: Sendable {
  /// `async`: the writer waits for the start only.
  public let isAsynchronous: Bool
  /// `wait=SECONDS`: the writer waits no longer.
  public let longestWait: UInt64?
  /// The rest.
  public let words: OperationWords

  /// Errors: `.invalidParameter` for a line that cannot be taken apart.
  public init(line: String) throws(ImageError) {
    var words = try OperationWords(line: line)
    isAsynchronous = words.take(flag: "async")
    if let text = try words.take(key: "wait") {
      // A day is more than anybody waits; what is longer is no mistake either.
      guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
        throw ImageError(.invalidParameter, "wait=\(escaped(text)): a number of seconds is needed there")
      }
      longestWait = min(UInt64(text) ?? .max, 86400 * 365)
    } else {
      longestWait = nil
    }
    self.words = words
  }
}
