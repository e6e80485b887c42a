/// A stretch of a disk that is found in one way at one place: what resolving an offset answers.
///
/// Resolving is apart from moving bytes: a format is asked, under its own lock, for the run at an offset; the bytes
/// are moved after that lock was let go.
public struct Run: Sendable {
  public enum Kind: UInt8, Sendable {
    /// In the file, at `fileOffset`.
    case data
    /// Reads as zero. Allocated or not: see `isMapped`.
    case zero
    /// Reads as the parent does at the same offset.
    case parent
    /// In the file's log, which has not been replayed: only `readLogged` of the format can read it.
    case logged
    /// Not known without reading a table from the medium; ask again where waiting is allowed.
    case unknown
  }

  public var kind: Kind
  /// For `zero`: the format says zero (true), or says nothing about the range (false).
  public var isMapped: Bool
  /// Bytes; at least 1.
  public var length: UInt64
  /// Where the bytes of a `data` or `logged` run lie; 0 otherwise.
  public var fileOffset: UInt64

  public init(_ kind: Kind, length: UInt64, fileOffset: UInt64 = 0, isMapped: Bool = false) {
    self.kind = kind
    self.length = length
    self.fileOffset = fileOffset
    self.isMapped = isMapped
  }
}

/// Where the bytes of a write go: what preparing a write answers.
public struct WriteRun: Sendable {
  public enum Kind: UInt8, Sendable {
    /// Write `length` bytes at `fileOffset`; nothing is left to do after that.
    case ready
    /// Write `length` bytes at `fileOffset`, then call `completeWrite` with this run: the tables speak of them
    /// only from then on.
    case tracked
    /// Not known without reading a table, making room or committing; ask again where waiting is allowed.
    case unknown
    /// The range holds nothing yet and may be left so if the bytes to be written are all zero: ask again with
    /// `bytesAreZero` answered.
    case unallocated
    /// Nothing to write: the range reads as zero already, or was made to.
    case done
  }

  public var kind: Kind
  /// Bytes; at least 1.
  public var length: UInt64
  /// Where the bytes go in the file.
  public var fileOffset: UInt64
  /// Where the range begins on the disk.
  public var diskOffset: UInt64

  public init(_ kind: Kind, length: UInt64, diskOffset: UInt64, fileOffset: UInt64 = 0) {
    self.kind = kind
    self.length = length
    self.fileOffset = fileOffset
    self.diskOffset = diskOffset
  }
}
