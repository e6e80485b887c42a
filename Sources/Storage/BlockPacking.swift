/// A block, or what else has room of its own in a file, on its way to another place of the file.
///
/// Places are counted in the format's unit of allocation: sectors in a VHD, MiB in a VHDX.
public struct BlockMove: Sendable, Equatable {
  /// Which one; what the number means is the format's.
  public let number: UInt32
  public let from: UInt32
  public let to: UInt32
  /// It goes where something lay that was moved before: that must be committed first.
  public internal(set) var needsCommit: Bool

  public init(number: UInt32, from: UInt32, to: UInt32, needsCommit: Bool) {
    self.number = number
    self.from = from
    self.to = to
    self.needsCommit = needsCommit
  }
}

/// How a file's blocks will lie once they are packed, decided before any of them moves: what is done is this list, and
/// nothing else.
public struct BlockPacking: Sendable, Equatable {
  /// In the order in which they are done.
  public var moves: [BlockMove] = []
  /// Bytes that are copied for that.
  public var movedBytes: UInt64 = 0
  /// Bytes of the file afterwards.
  public var fileSize: UInt64 = 0
  /// Bytes of the file that are neither its own structures nor blocks, afterwards.
  public var unusedBytes: UInt64 = 0
  /// Why there are such.
  public var obstacle: Obstacle?

  public enum Obstacle: Sendable, Equatable {
    /// Nothing moves.
    case nothingMoves
    /// What lies behind them would have to be copied, so many bytes, which is out of proportion.
    case copying(UInt64)
    /// The format's own structures lie behind them, and stay where they are.
    case structures
    /// Blocks begin at multiples of so many bytes.
    case alignment(UInt64)
  }

  public init() {}
}
