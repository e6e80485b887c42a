/// How fast an operation goes, and how long it will take: from looks at its progress a few times a second.
///
/// The rate is that of the last ten seconds, so that it follows a disk that became slower, and does not jump.
public struct OperationMeter: Sendable {
  private struct Look {
    let done: UInt64
    let seconds: Double
  }

  private static let window = 10.0

  /// Oldest first; at most one a tenth of a second is kept.
  private var looks: [Look] = []
  private var total: UInt64 = 0

  public init() {}

  /// - Parameter seconds: on any clock that only goes forward.
  public mutating func look(done: UInt64, total: UInt64, at seconds: Double) {
    self.total = total
    if let last = looks.last, seconds - last.seconds < 0.1 { return }
    looks.append(Look(done: done, seconds: seconds))
    // One from before the window stays: the rate is measured from there.
    while looks.count > 2, looks[1].seconds < seconds - OperationMeter.window { looks.removeFirst() }
  }

  /// Bytes a second; nil as long as it cannot be told.
  public var rate: Double? {
    guard let first = looks.first, let last = looks.last, last.seconds - first.seconds >= 0.5,
      last.done > first.done
    else { return nil }
    return Double(last.done - first.done) / (last.seconds - first.seconds)
  }

  /// Seconds until the end; nil as long as it cannot be told.
  public var secondsLeft: Double? {
    guard let rate, let last = looks.last, total >= last.done else { return nil }
    return Double(total - last.done) / rate
  }
}
