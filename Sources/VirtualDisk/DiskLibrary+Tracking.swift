import ChangeTracking
import Storage

/// What is known of the tracking of an image.
public struct TrackingFacts: Sendable {
  public enum State: String, Sendable {
    case on, off
    /// There is a tracking file that does not count.
    case refused
  }

  public var state: State
  /// Why it does not count: what every question is answered with.
  public var refusal: ImageError?
  /// Of the tracking file, whether there is one or not.
  public var path: String
  /// Bytes of the tracking file; nil: there is none.
  public var fileSize: UInt64?
  /// Oldest first.
  public var points: [ReferencePoint]

  public init(
    state: State, refusal: ImageError? = nil, path: String, fileSize: UInt64? = nil,
    points: [ReferencePoint] = []
  ) {
    self.state = state
    self.refusal = refusal
    self.path = path
    self.fileSize = fileSize
    self.points = points
  }
}

/// Change tracking of an image, online or offline. Each opens the image if it is not open; those that change the record do
/// so as a writer, whom no other may stand beside.
extension DiskLibrary {
  /// Waits. Errors: those of opening; the host's.
  public func tracking(of name: String) throws(ImageError) -> TrackingFacts {
    try withDisk(name, .read) { (disk) throws(ImageError) in try disk.tracking.facts(disk.leaf) }
  }

  /// Waits. Durable when it returns; points are there no more after `off` and `reset`.
  ///
  /// Errors: those of opening for writing; for `on`, why the file that is there does not count.
  public func setTracking(_ change: TrackingChange, of name: String) throws(ImageError) {
    try withDisk(name, .write) { (disk) throws(ImageError) in try disk.tracking.change(change, disk.leaf) }
  }

  /// Makes a reference point. Waits. Durable when it returns; what was written before it is durable too.
  ///
  /// Errors: `.invalidState` (EPERM) with tracking off, or where another image was merged past this one, so that it shows no
  /// state of a disk; `.invalidParameter` for a bad name, with EEXIST for a taken one;
  /// ENOSPC when there are too many.
  @discardableResult
  public func makePoint(_ point: String, of name: String) throws(ImageError) -> ReferencePoint {
    try withDisk(name, .write) { (disk) throws(ImageError) in
      try disk.failIfMergedPast()
      return try disk.tracking.makePoint(point, disk.leaf)
    }
  }

  /// Drops the point of that name or id. Waits. Durable when it returns.
  ///
  /// Errors: `.objectNotFound`; why there are no points.
  public func dropPoint(_ point: String, of name: String) throws(ImageError) {
    try withDisk(name, .write) { (disk) throws(ImageError) in try disk.tracking.dropPoint(point, disk.leaf) }
  }

  private func withDisk<Answer>(
    _ name: String, _ access: DiskAccess, _ body: (VirtualDisk) throws(ImageError) -> Answer
  ) throws(ImageError) -> Answer {
    let handle = try open(name, access: access)
    let answer: Answer
    do throws(ImageError) {
      answer = try body(handle.disk)
    } catch {
      try? handle.close()
      throw error
    }
    try handle.close()
    return answer
  }
}

extension DiskTracking {
  func facts(_ leaf: Layer) throws(ImageError) -> TrackingFacts {
    try sessions.withLock { (record) throws(ImageError) in
      try load(&record, leaf)
      var facts = TrackingFacts(state: .off, path: place.path ?? "")
      switch record {
      case .kept(let tracker):
        facts.fileSize = try tracker.file.status().allocated
        facts.refusal = tracker.failure
        facts.state = facts.refusal == nil ? .on : .refused
        facts.points = tracker.points
      case .refused(let reason):
        facts.refusal = DiskTracking.isOff(reason) ? nil : reason
        facts.state = DiskTracking.isOff(reason) ? .off : .refused
        facts.fileSize = try place.open(writable: false)?.status().allocated
      case .none, .unknown: break
      }
      return facts
    }
  }
}
