import ArgumentParser

/// A size on the command line: bytes, or a number with K, M, G or T (also Ki and KiB, …), which are powers of 1024.
///
/// KB and the like are refused: half of the world reads them as 1000, and a disk's size is not to be guessed.
struct ByteCount: ExpressibleByArgument, Equatable {
  let bytes: UInt64

  init(bytes: UInt64) { self.bytes = bytes }

  /// As `--help` shows a default.
  var defaultValueDescription: String { "\(bytes)" }

  init?(argument: String) {
    let digits = argument.prefix { ("0"..."9").contains($0) }
    guard let number = UInt64(digits), let shift = ByteCount.shift(of: argument.dropFirst(digits.count))
    else { return nil }
    let product = number.multipliedReportingOverflow(by: 1 << shift)
    guard !product.overflow else { return nil }
    bytes = product.partialValue
  }

  private static func shift(of suffix: Substring) -> UInt64? {
    switch suffix.lowercased() {
    case "", "b": 0
    case "k", "ki", "kib": 10
    case "m", "mi", "mib": 20
    case "g", "gi", "gib": 30
    case "t", "ti", "tib": 40
    default: nil
    }
  }
}
