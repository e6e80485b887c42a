/// A set of block numbers below a bound, a bit each.
struct BlockSet: Sendable {
  private var words: [UInt64]
  private(set) var count: UInt64 = 0

  init(below bound: UInt64) { words = [UInt64](repeating: 0, count: Int((bound + 63) / 64)) }

  func contains(_ block: UInt64) -> Bool {
    let word = Int(block >> 6)
    return word < words.count && words[word] >> (block & 63) & 1 == 1
  }

  mutating func insert(_ block: UInt64) {
    guard !contains(block), Int(block >> 6) < words.count else { return }
    words[Int(block >> 6)] |= 1 << (block & 63)
    count += 1
  }

  /// The first member at or after `block`.
  func next(from block: UInt64) -> UInt64? {
    var word = Int(block >> 6)
    guard word < words.count else { return nil }
    var bits = words[word] & (~0 << (block & 63))
    while bits == 0 {
      word += 1
      guard word < words.count else { return nil }
      bits = words[word]
    }
    return UInt64(word) << 6 | UInt64(bits.trailingZeroBitCount)
  }
}
