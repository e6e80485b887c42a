import Storage

/// A bitmap of used units, as all these file systems have it: bit `n` is bit `n % 8` of byte `n / 8`, 1 means used.
enum UsedBits {
  /// The first run of clear bits that begins in [from, end); nil where all are set. `end` is at most 8 times the bytes.
  static func firstClearRun(in bytes: [UInt8], from: Int, end: Int) -> Range<Int>? {
    bytes.withUnsafeBytes { bytes in
      let start = first(false, in: bytes, from: from, end: end)
      guard start < end else { return nil }
      return start..<first(true, in: bytes, from: start, end: end)
    }
  }

  /// Clear bits among the first `count`.
  static func clearCount(in bytes: [UInt8], count: Int) -> Int {
    bytes.withUnsafeBytes { bytes in
      var set = 0
      let words = count / 64
      for word in 0..<words { set += bytes.littleEndian(UInt64.self, at: word * 8).nonzeroBitCount }
      for bit in words * 64..<count where bytes[bit >> 3] >> (bit & 7) & 1 == 1 { set += 1 }
      return count - set
    }
  }

  /// Whether all bits in [from, end) are set; `end` is at most 8 times the bytes.
  static func areAllSet(in bytes: UnsafeRawBufferPointer, from: Int, end: Int) -> Bool {
    first(false, in: bytes, from: from, end: end) == end
  }

  static func isAnyClear(in bytes: [UInt8], _ range: Range<Int>) -> Bool {
    firstClearRun(in: bytes, from: range.lowerBound, end: range.upperBound) != nil
  }

  static func set(_ range: Range<Int>, in bytes: inout [UInt8]) {
    for bit in range { bytes[bit >> 3] |= 1 << UInt8(bit & 7) }
  }

  /// The first bit of this value in [from, end), else `end`.
  private static func first(_ isSet: Bool, in bytes: UnsafeRawBufferPointer, from: Int, end: Int) -> Int {
    var bit = from
    while bit < end {
      if bit & 63 == 0, bit >> 3 + 8 <= bytes.count {
        let word = bytes.littleEndian(UInt64.self, at: bit >> 3)
        let wanted = isSet ? word : ~word
        if wanted != 0 { return min(bit + wanted.trailingZeroBitCount, end) }
        bit += 64
      } else {
        let byte = bytes[bit >> 3]
        let wanted = (isSet ? byte : ~byte) >> UInt8(bit & 7)
        if wanted != 0 { return min(bit + wanted.trailingZeroBitCount, end) }
        bit = (bit | 7) + 1
      }
    }
    return end
  }
}
