/// What a block that gives its room up reads as afterwards.
public enum BlockRelease: Sendable {
  /// Zero, whatever the parent shows. A VHD child cannot say that: `nothing` is what it has.
  case zero
  /// As if the block had never been written: as the parent does, or zero where there is none.
  case nothing
}

/// What those who move blocks tell, and ask.
public struct RelocationMonitor {
  /// So many bytes more were copied.
  public let copied: (UInt64) -> Void
  /// Called between pieces of a few MiB. Its error ends the moving; what was not committed stays where it was.
  public let check: () throws(ImageError) -> Void

  public init(copied: @escaping (UInt64) -> Void, check: @escaping () throws(ImageError) -> Void) {
    self.copied = copied
    self.check = check
  }
}
