import Storage

/// The disk that a chain shows.
///
/// Offsets and lengths are bytes of the disk; the caller has checked that ranges lie inside `size`. Reads and writes
/// need no alignment. All methods may be called from any thread, several at once.
public final class VirtualDisk: Sendable {
  /// Bytes.
  public let size: UInt64
  public let logicalSectorSize: UInt32
  public let physicalSectorSize: UInt32

  init() {
    size = 0
    logicalSectorSize = 512
    physicalSectorSize = 512
  }

  /// Fills `buffer` from `offset`. With `mayWait` false, returns false (with the buffer's contents undefined) instead
  /// of waiting for the medium or a lock; ask again, waiting, on a thread that may.
  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, mayWait: Bool
  ) throws(ImageError) -> Bool { true }

  /// Writes `bytes` at `offset`; not durable before `flush`. With `mayWait` false, returns false where it would have
  /// to wait; part of the bytes may have been written then, and the whole is to be written again.
  public func write(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, mayWait: Bool
  ) throws(ImageError) -> Bool { true }

  /// Makes the range read as zero and gives its room back where whole blocks allow it. Waits.
  public func zero(at offset: UInt64, length: UInt64) throws(ImageError) {}

  /// Makes all writes and zeroings that have returned durable: data, then tables through the log. Waits.
  public func flush() throws(ImageError) {}

  /// The clean close on the medium, while the disk stays open: everything committed, the log empty, unused room cut.
  /// A later write begins anew. Waits.
  public func finishWriting() throws(ImageError) {}

  /// The start of the next stretch of data at or after `offset`; nil when there is none before the end. Waits.
  public func nextData(from offset: UInt64) throws(ImageError) -> UInt64? { nil }

  /// The start of the next hole at or after `offset`; `size` when there is none. Waits.
  public func nextHole(from offset: UInt64) throws(ImageError) -> UInt64 { size }

  /// How the range is stored, in ascending runs that do not touch another of the same kind and file. Waits.
  /// Ends early when `body` answers false.
  public func forEachMapRun(
    from offset: UInt64, length: UInt64, _ body: (MapRun) -> Bool
  ) throws(ImageError) {}

  /// The paths of the chain's files, leaf first.
  public var paths: [String] { [] }
}

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
