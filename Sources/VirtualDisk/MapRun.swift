/// A stretch of the disk as a map shows it.
public struct MapRun: Sendable {
  public enum Kind: String, Sendable {
    /// Bytes in a file.
    case data
    /// A file says that it reads as zero.
    case zero
    /// No file says anything: it reads as zero.
    case unmapped
  }
  public var offset: UInt64
  public var length: UInt64
  public var kind: Kind
  /// 0 for the leaf, 1 for its parent, and so on: the file that decides. For `unmapped` the root.
  public var depth: Int
  /// Where the bytes lie in that file; nil unless `kind` is `data`.
  public var fileOffset: UInt64?

  public init(offset: UInt64, length: UInt64, kind: Kind, depth: Int, fileOffset: UInt64?) {
    self.offset = offset
    self.length = length
    self.kind = kind
    self.depth = depth
    self.fileOffset = fileOffset
  }
}
