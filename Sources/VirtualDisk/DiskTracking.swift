import ChangeTracking
import Glibc
import Storage
import Synchronization

/// Ties a disk's changes to the record of them.
///
/// Invariants:
/// - A change passes `note` inside a gate (the leaf's, or `gate`) before it is made, and leaves the gate after it.
///   Whoever holds changes back and drains both gates knows that none is under way.
/// - The image's session begins and ends under `sessions`, and so does everything that is done to the record as a whole:
///   the record's session is durable before the image's begins, and ends after it.
/// - The record that `noting` points to lives until every change that may have seen it has left its gate.
///
/// Lock order: `finishing`, then `sessions`, then the tracker's.
final class DiskTracking: Sendable {
  /// What is known of the tracking file.
  enum Record {
    /// Nobody has looked.
    case unknown
    /// There is none.
    case none
    case kept(ChangeTracker)
    /// It does not count, for this reason.
    case refused(ImageError)
  }

  let place: TrackingFile
  let options: TrackingOptions
  let warn: @Sendable (String) -> Void
  let boot: GUID
  /// Counts the changes that do not stay in the leaf's gate until they are made.
  let gate = OperationGate()
  let sessions = Mutex(Record.unknown)
  /// Clean closes take turns: the next must not change the file after the record of the one before was closed.
  let finishing = Mutex<Void>(())
  private let noting = Atomic<Unmanaged<ChangeTracker>?>(nil)

  init(
    _ place: TrackingFile, _ options: TrackingOptions, boot: GUID = BootIdentity.current,
    warn: @escaping @Sendable (String) -> Void = { _ in }
  ) {
    self.boot = boot
    self.place = place
    self.options = options
    self.warn = warn
  }

  /// Records that [offset, offset + length) is about to change. See `ChangeTracker.note`. No lock is taken and nothing is
  /// counted where there is no record.
  @inline(__always)
  func note(_ offset: UInt64, _ length: UInt64, mayWait: Bool) throws(ImageError) -> ChangeTracker.Outcome {
    guard let pointer = noting.load(ordering: .sequentiallyConsistent) else { return .noted }
    unowned(unsafe) let tracker = pointer.takeUnretainedValue()
    return try tracker.note(offset, length, mayWait: mayWait)
  }

  /// Puts a record in the place of another, which is given up when no change uses it any more. The caller holds
  /// `sessions`.
  func keep(_ new: Record, _ record: inout Record, _ leaf: Layer) {
    let old = record
    record = new
    if case .kept(let tracker) = new {
      noting.store(Unmanaged.passUnretained(tracker), ordering: .sequentiallyConsistent)
    } else {
      noting.store(nil, ordering: .sequentiallyConsistent)
    }
    guard case .kept = old else { return }
    withExtendedLifetime(old) { drain(leaf) }
  }

  /// Returns when every change that was under way has been made. The caller holds `sessions`.
  func drain(_ leaf: Layer) {
    leaf.drain()
    let target = gate.current + 2
    while gate.advance() < target { usleep(100) }
  }

  /// Looks for the tracking file, once. The caller holds `sessions`.
  ///
  /// Errors: the host's. A file that is refused is no error here.
  func load(_ record: inout Record, _ leaf: Layer) throws(ImageError) {
    guard case .unknown = record else { return }
    guard let file = try place.open(writable: leaf.file.isWritable) else {
      record = .none
      return
    }
    let image = try DiskTracking.state(of: leaf)
    do throws(ImageError) {
      let tracker = try ChangeTracker(
        file, image: image, boot: boot, isStrict: options.isStrict,
        isSoleWriter: options.isSoleWriter)
      keep(.kept(tracker), &record, leaf)
    } catch {
      // Refusals; all else may be better the next time.
      let refusals: [ReturnValue] = [.invalidState, .wrongDataType, .notSupported]
      guard refusals.contains(error.returnValue) else { throw error }
      record = .refused(error)
      // An image is opened by many who want nothing of its tracking.
      if error.returnValue != .invalidState || error.errno != .notPermitted { warn(error.description) }
    }
  }

  /// What the image file is now.
  static func state(of leaf: Layer) throws(ImageError) -> ImageState {
    let status = try leaf.file.status()
    return ImageState(
      identity: leaf.file.identity, fileSize: status.size, modified: status.modified,
      diskSize: leaf.virtualSize,
      writes: leaf.writeIdentity)
  }
}
