/// SplitMix64: the same numbers for the same seed, on every machine.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return mixed(state)
  }
}

@inline(__always)
private func mixed(_ value: UInt64) -> UInt64 {
  var word = value
  word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
  word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
  return word ^ (word >> 31)
}

/// `count` bytes that depend on the seed and on the place, so that bytes of another place are noticed.
public func pattern(seed: UInt64, at offset: UInt64 = 0, count: Int) -> [UInt8] {
  let first = offset / 8
  let skipped = Int(offset % 8)
  let words = (skipped + count + 7) / 8
  let bytes = [UInt8](unsafeUninitializedCapacity: words * 8) { buffer, initialized in
    buffer.withMemoryRebound(to: UInt64.self) { target in
      for index in 0..<words {
        target[index] = mixed(
          (seed &* 0xD134_2543_DE82_EF95) &+ (first &+ UInt64(index) &+ 1) &* 0x9E37_79B9_7F4A_7C15)
      }
    }
    initialized = words * 8
  }
  return skipped == 0 && bytes.count == count ? bytes : Array(bytes[skipped..<skipped + count])
}
