/// What a block that gives its room up reads as afterwards.
public enum BlockRelease: Sendable {
  /// Zero, whatever the parent shows. A VHD child cannot say that: `nothing` is what it has.
  case zero
  /// As if the block had never been written: as the parent does, or zero where there is none.
  case nothing
}

/// How a file's blocks would lie once they are packed.
public struct BlockPacking: Sendable, Equatable {
  /// How many blocks have to be moved.
  public var moves: UInt64
  /// Bytes that have to be copied for that, at most.
  public var bytes: UInt64
  /// Bytes of the file afterwards.
  public var fileSize: UInt64

  public init(moves: UInt64, bytes: UInt64, fileSize: UInt64) {
    self.moves = moves
    self.bytes = bytes
    self.fileSize = fileSize
  }
}

/// What those who move blocks tell, and ask.
public struct RelocationMonitor {
  /// So many bytes more are to be copied than was foreseen.
  public let expect: (UInt64) -> Void
  /// So many bytes more were copied.
  public let copied: (UInt64) -> Void
  /// Called between pieces of a few MiB. Its error ends the moving; what was not committed stays where it was.
  public let check: () throws(ImageError) -> Void

  public init(
    expect: @escaping (UInt64) -> Void, copied: @escaping (UInt64) -> Void,
    check: @escaping () throws(ImageError) -> Void
  ) {
    self.expect = expect
    self.copied = copied
    self.check = check
  }
}
