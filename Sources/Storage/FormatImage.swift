/// What a format room (VHD, VHDX) offers the chain above it: one open file of its format.
///
/// The protocol is the contract in writing; callers name the concrete types, so no call goes through an existential.
///
/// Threads: every method may be called from any thread, several at once. Tables are under the image's own lock, which
/// is never held while payload bytes move. An operation enters `gate` before it resolves and leaves after its
/// bytes have moved; freed room waits for the gate.
///
/// Life: `init(_:)` reads and checks, and changes nothing. `beginWriting` comes before the first change. `commit` makes
/// changes durable. `finishWriting` leaves the file as a clean close does; writing may begin again after it.
/// After a failed flush the image refuses writes for good, with the reason.
public protocol FormatImage: AnyObject, Sendable {
  /// Opens what the file holds. Every number in it is checked before it is used. Changes nothing.
  init(_ file: HostFile) throws(ImageError)

  var file: HostFile { get }
  /// Bytes of the disk.
  var virtualSize: UInt64 { get }
  /// Whether ranges may read as the parent does.
  var isDifferencing: Bool { get }
  /// Counts the operations under way.
  var gate: OperationGate { get }

  /// Resolves `offset` (below `virtualSize`): the run that begins there, at most `limit` bytes.
  ///
  /// With `mayWait` false the answer is `.unknown` where a table page must be read from the medium first.
  /// Errors: damaged tables (reserved states, places outside the file or on its own tables).
  func locate(_ offset: UInt64, limit: UInt64, mayWait: Bool) throws(ImageError) -> Run

  /// Returns when every operation that had entered `gate` before has left it. Waits.
  func drain()

  /// Makes the file ready for its first change (locks are the caller's): replays a log, mends a damaged copy, renews
  /// the identities, each durable before it returns. Does nothing when writing has begun already. Waits.
  func beginWriting() throws(ImageError)
  /// Writing has begun and not been finished.
  var isWriting: Bool { get }
  /// A session has begun and was not closed cleanly.
  var isInSession: Bool { get }

  /// Where the bytes for [offset, offset + limit) go, at most up to the end of a block.
  ///
  /// - `mayAllocate` false: an answer of `.unallocated` instead of making room, so that the caller can look whether
  ///   the bytes are all zero and nothing needs to be written.
  /// - In a differencing image a write must not begin or end inside a sector that still reads as the parent's: the
  ///   caller has filled it up. (512 or 4096 bytes: the logical sector.)
  func prepareWrite(
    at offset: UInt64, limit: UInt64, mayAllocate: Bool, mayWait: Bool
  ) throws(ImageError) -> WriteRun

  /// Tells the tables that the bytes of a `.tracked` run are in the file. May read a table page; rarely waits.
  func completeWrite(_ run: WriteRun) throws(ImageError)

  /// Makes the beginning of [offset, offset + limit) read as zero, as far as one step goes. Waits.
  ///
  /// Answers `.done` with the bytes that are done, or `.unallocated` with the bytes at `offset` for which the caller
  /// must write zeros, because the parent would show through otherwise.
  func zero(at offset: UInt64, limit: UInt64) throws(ImageError) -> WriteRun

  /// Changes of tables that are not durable yet, and since when it matters (the committer's clock).
  var hasUncommittedChanges: Bool { get }
  /// So many changes wait that they should be committed soon, not only at the next flush.
  var wantsCommit: Bool { get }

  /// Makes everything durable that has completed: data first, then the tables that speak of it. Waits.
  func commit() throws(ImageError)

  /// Commits, and leaves the file as a clean close does: log empty, unused room cut. Waits.
  func finishWriting() throws(ImageError)
}
