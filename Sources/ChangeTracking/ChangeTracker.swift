import Storage
import Synchronization

/// Records which parts of a disk change.
///
/// Invariants:
/// - Before a write of the disk is issued, its fine bits are in the file (`note`), and the region is marked on stable
///   storage. After a kill the bits are whole; after a power cut what lies in a marked region counts as changed.
/// - A region loses its mark only when every write that relied on it has ended and the fine bits are durable.
/// - Before the image's first changed byte a session record is durable (`beginSession`).
/// - What cannot be recorded is not passed over: the file is made invalid, durably, before the write goes on.
///
/// Threads: every method may be called from any thread. Lock order: `keeping`, then `state`. `keeping` is held while
/// headers, region tables and catalogues are written and flushed; `state` for steps in memory, and while a
/// block is put into the file (not flushed).
public final class ChangeTracker: Sendable {
  /// What `note` came to.
  public enum Outcome: Sendable {
    /// The write may be issued.
    case noted
    /// A mark must be made durable first; ask again where waiting is allowed.
    case mustWait
    /// A point is being made; ask again a moment later.
    case held
  }

  public let file: HostFile
  let boot: GUID
  /// The image's.
  let identity: FileIdentity
  /// A change that cannot be recorded fails, instead of ending the record.
  let isStrict: Bool
  let status: Atomic<UInt8>
  let keeping = Mutex<Void>(())
  let state: Mutex<TrackerState>

  /// What `status` holds.
  enum Status {
    /// No point, so nothing is to be recorded; or recording has ended.
    static let idle: UInt8 = 0
    static let recording: UInt8 = 1
    static let held: UInt8 = 2
  }

  /// Reads a tracking file and tells whether it counts for the image as it is now. Changes nothing.
  ///
  /// - Parameters:
  ///   - isInSession: the file was made for an image that is being written.
  ///   - isStrict: a change that cannot be recorded fails, instead of ending the record.
  ///   - isSoleWriter: nobody else writes the image: a VHD that was not closed is believed to be as it was left.
  ///
  /// Errors: the refusals of `TrackingError`; the host's.
  public init(
    _ file: HostFile, image: ImageState, boot: GUID, isInSession: Bool = false, isStrict: Bool = false,
    isSoleWriter: Bool = false
  ) throws(ImageError) {
    let contents = try TrackingContents(file)
    let verdict = try SessionVerdict(
      contents.header, image, boot: boot, isSoleWriter: isSoleWriter || isInSession, path: file.path)
    self.file = file
    self.boot = boot
    identity = image.identity
    self.isStrict = isStrict
    status = Atomic(contents.points.isEmpty ? Status.idle : Status.recording)
    var state = TrackerState(contents)
    state.isInSession = isInSession
    if verdict == .powerCut { try state.presumeChanges(file, contents.marks) }
    self.state = Mutex(state)
  }

  /// The points, oldest first.
  public var points: [ReferencePoint] { state.withLock { $0.points } }
  /// Why nothing is recorded any more, if that is so.
  public var failure: ImageError? { state.withLock { $0.failure } }

  /// A session has begun, and its end was not told.
  public var isInSession: Bool { state.withLock { $0.isInSession } }

  /// The point of that name or id. Errors: unknown.
  public func point(_ limit: String) throws(ImageError) -> ReferencePoint {
    if let failure { throw failure }
    // Names are unique; an id has a colon, which no name has.
    guard let point = points.first(where: { $0.name == limit || $0.id == limit }) else {
      throw TrackingError.unknownPoint(file.path, limit)
    }
    return point
  }
}
