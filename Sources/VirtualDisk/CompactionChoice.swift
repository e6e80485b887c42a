import Storage

/// What a compaction looks at, and what it may do.
public struct CompactionChoice: Sendable, Equatable {
  /// Blocks are read, and those that hold nothing but zeros are given up.
  public var scansForZeros: Bool
  /// Blocks of which nothing is read by the tables' own word are given up.
  public var usesTables: Bool
  /// Ranges that no file system uses are turned into zero, in pieces of blocks too.
  public var trims: Bool
  /// Blocks move from the tail into holes.
  public var moves: Bool

  public init(scansForZeros: Bool, usesTables: Bool, trims: Bool, moves: Bool) {
    self.scansForZeros = scansForZeros
    self.usesTables = usesTables
    self.trims = trims
    self.moves = moves
  }
}

/// Which ranges of a disk nobody uses, in ascending order.
///
/// `next`: the first free range that ends after an offset (bytes of the disk), cut to begin there or later; nil: none.
public struct FreeRanges {
  private let next: (UInt64) throws(ImageError) -> Range<UInt64>?
  /// The answer to the last question, which was about `asked`.
  private var found: Range<UInt64>?
  private var asked: UInt64?

  public init(next: @escaping (UInt64) throws(ImageError) -> Range<UInt64>?) { self.next = next }

  /// These ranges, which are ascending and do not touch each other.
  public init(_ ranges: [Range<UInt64>]) {
    self.init { offset in
      ranges.first { $0.upperBound > offset }.map { max($0.lowerBound, offset)..<$0.upperBound }
    }
  }

  /// Everything is used.
  public static var none: FreeRanges { FreeRanges(next: { _ in nil }) }

  /// The first free range that ends after `offset`, cut to begin there or later.
  public mutating func range(from offset: UInt64) throws(ImageError) -> Range<UInt64>? {
    if let asked, offset >= asked {
      guard let found else { return nil }
      if found.upperBound > offset { return max(found.lowerBound, offset)..<found.upperBound }
    }
    found = try next(offset)
    asked = offset
    return found
  }

  /// Whether all of a range is free.
  mutating func covers(_ range: Range<UInt64>) throws(ImageError) -> Bool {
    guard let found = try self.range(from: range.lowerBound) else { return false }
    return found.lowerBound == range.lowerBound && found.upperBound >= range.upperBound
  }

  /// The first piece of a range that is free as a whole, or used as a whole.
  mutating func piece(of range: Range<UInt64>) throws(ImageError) -> (range: Range<UInt64>, isFree: Bool) {
    guard let found = try self.range(from: range.lowerBound), found.lowerBound < range.upperBound else {
      return (range, false)
    }
    if found.lowerBound > range.lowerBound { return (range.lowerBound..<found.lowerBound, false) }
    return (range.lowerBound..<min(found.upperBound, range.upperBound), true)
  }
}

/// What a compaction tells while it runs, and asks.
public struct CompactionMonitor {
  /// Bytes to do besides those told before.
  public let expect: (UInt64) -> Void
  public let advance: (UInt64) -> Void
  /// Called where everything is valid as it is. Its error ends the compaction.
  public let check: () throws(ImageError) -> Void

  public init(
    expect: @escaping (UInt64) -> Void, advance: @escaping (UInt64) -> Void,
    check: @escaping () throws(ImageError) -> Void
  ) {
    self.expect = expect
    self.advance = advance
    self.check = check
  }

  /// Nobody listens, and nothing ends it.
  public static var silent: CompactionMonitor {
    CompactionMonitor(expect: { _ in }, advance: { _ in }, check: {})
  }
}
