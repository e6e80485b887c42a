/// Slots that no block uses, as ranges: a file may have millions of them. The lowest of the range that was put on top
/// last is taken first.
struct FreeSlots: Sendable {
  private var ranges: [Range<UInt32>] = []
  private(set) var count = 0

  /// Puts slots on top. One behind the topmost range makes that longer.
  mutating func add(_ slots: Range<UInt32>) {
    guard !slots.isEmpty else { return }
    count += slots.count
    if let last = ranges.last, last.upperBound == slots.lowerBound {
      ranges[ranges.count - 1] = last.lowerBound..<slots.upperBound
    } else {
      ranges.append(slots)
    }
  }

  /// Puts slots below all others.
  mutating func addLast(_ slots: Range<UInt32>) {
    count += slots.count
    ranges.insert(slots, at: 0)
  }

  /// The lowest come first from here on.
  mutating func sort() { ranges.sort { $0.lowerBound > $1.lowerBound } }

  mutating func take() -> UInt32? {
    guard let last = ranges.popLast() else { return nil }
    if last.count > 1 { ranges.append((last.lowerBound + 1)..<last.upperBound) }
    count -= 1
    return last.lowerBound
  }
}
