import Storage

/// A stretch of a sector bitmap in memory: bit n stands for sector n, the most significant bit of a byte
/// first. Its length is a multiple of 8 bytes.
struct SectorBits {
  let bytes: UnsafeMutableRawBufferPointer

  /// How many bits from `first` on, and before `end`, have the value of the first.
  func run(from first: Int, end: Int) -> (isSet: Bool, count: Int) {
    let isSet = bytes[first >> 3] & (0x80 >> (first & 7)) != 0
    var position = first
    while position < end {
      // 64 bits at a time: the leading bits that differ from what is looked for end the run.
      let shift = position & 63
      let word = UnsafeRawBufferPointer(bytes).bigEndian(UInt64.self, at: (position >> 6) * 8)
      let equal = ((isSet ? ~word : word) << UInt64(shift)).leadingZeroBitCount
      let inWord = min(equal, 64 - shift)
      position += inWord
      if inWord < 64 - shift { break }
    }
    return (isSet, min(position, end) - first)
  }

  /// Whether all bits of the range, which is not empty, are set.
  func areSet(_ range: Range<Int>) -> Bool {
    let run = run(from: range.lowerBound, end: range.upperBound)
    return run.isSet && run.count == range.count
  }

  /// Sets all bits of the range; returns whether that changed any.
  func set(_ range: Range<Int>) -> Bool {
    guard !range.isEmpty, !areSet(range) else { return false }
    let (first, last) = (range.lowerBound, range.upperBound - 1)
    let head = UInt8(0xFF) >> UInt8(first & 7)
    let tail = UInt8(truncatingIfNeeded: 0xFF00 >> ((last & 7) + 1))
    if first >> 3 == last >> 3 {
      bytes[first >> 3] |= head & tail
    } else {
      bytes[first >> 3] |= head
      bytes[last >> 3] |= tail
      for index in ((first >> 3) + 1)..<(last >> 3) { bytes[index] = 0xFF }
    }
    return true
  }
}
