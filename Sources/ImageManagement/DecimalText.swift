/// Numbers as text, written where the caller says and without an allocation: a list of a million ranges is bound by this.
enum DecimalText {
  /// Two of the longest numbers, a blank and a newline.
  static let longestLine = 42

  /// Writes the digits of `number` at `place`, which has room for 20; returns how many they are.
  @inline(__always)
  static func put(_ number: UInt64, at place: UnsafeMutablePointer<UInt8>) -> Int {
    let count = digits(number)
    var rest = number
    var index = count
    repeat {
      index -= 1
      let quotient = rest / 10
      place[index] = UInt8(truncatingIfNeeded: UInt64(UInt8(ascii: "0")) + (rest - quotient * 10))
      rest = quotient
    } while rest > 0
    return count
  }

  @inline(__always)
  private static func digits(_ number: UInt64) -> Int {
    var count = 1
    var rest = number
    while rest >= 10_000 {
      rest /= 10_000
      count += 4
    }
    if rest >= 1000 { return count + 3 }
    if rest >= 100 { return count + 2 }
    return rest >= 10 ? count + 1 : count
  }
}
