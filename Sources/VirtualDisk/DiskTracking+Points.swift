import ChangeTracking
import Glibc
import Storage
import Synchronization

/// What is done to the record as a whole, while the disk may be written.
extension DiskTracking {
  /// The record that counts. Errors: why there is none.
  func tracker(_ leaf: Layer) throws(ImageError) -> ChangeTracker {
    try sessions.withLock { (record) throws(ImageError) in
      try load(&record, leaf)
      return try kept(record)
    }
  }

  /// Makes a point. Durable when it returns; what was written before it is durable too.
  func makePoint(_ name: String, _ leaf: Layer) throws(ImageError) -> ReferencePoint {
    try sessions.withLock { (record) throws(ImageError) in
      try load(&record, leaf)
      let tracker = try kept(record, whenAbsent: TrackingError.off)
      // Before anybody waits for it.
      try tracker.checkName(name)
      tracker.hold()
      defer { tracker.letGo() }
      drain(leaf)
      // Nothing before the point may be undone by a power cut after it: data, tables and log.
      try leaf.commit()
      // What a killed program wrote before, too.
      try leaf.file.flush()
      return try tracker.seal(name, created: DiskTracking.now())
    }
  }

  /// Drops a point. Durable when it returns.
  func dropPoint(_ limit: String, _ leaf: Layer) throws(ImageError) {
    try sessions.withLock { (record) throws(ImageError) in
      try load(&record, leaf)
      try kept(record).drop(limit)
    }
  }

  /// Switches tracking on or off, or begins anew. Durable when it returns.
  func change(_ change: TrackingChange, _ leaf: Layer) throws(ImageError) {
    try sessions.withLock { (record) throws(ImageError) in
      try load(&record, leaf)
      switch (change, record) {
      case (.on, .kept), (.off, .none), (.on, .unknown), (.off, .unknown): break
      case (.on, .refused(let reason)) where !DiskTracking.isOff(reason): throw reason
      case (.off, .refused(let reason)):
        guard DiskTracking.isOff(reason) else { throw reason }
      case (.off, .kept(let tracker)):
        try tracker.switchOff()
        keep(.refused(TrackingError.off(tracker.file.path)), &record, leaf)
      case (.on, _), (.reset, _): try beginAnew(&record, leaf)
      }
    }
  }

  /// What is taken from marks that nobody needs any more. For a thread in the background; waits.
  func clearQuietMarks(_ leaf: Layer) throws(ImageError) {
    try sessions.withLock { (record) throws(ImageError) in
      guard case .kept(let tracker) = record else { return }
      try tracker.clearQuietMarks { drain(leaf) }
    }
  }

  private func beginAnew(_ record: inout Record, _ leaf: Layer) throws(ImageError) {
    guard leaf.file.isWritable else {
      throw ImageError(
        .invalidState, errno: .readOnlyFileSystem,
        "\(escaped(leaf.file.path)): was opened for reading only, so its changes cannot be tracked")
    }
    let image = try DiskTracking.state(of: leaf)
    let isInSession = leaf.isInSession
    let file = try place.replace(like: leaf.file) { (file) throws(ImageError) in
      try ChangeTracker.create(
        file, for: image, boot: boot, inSession: isInSession, regionShift: options.regionShift)
    }
    let tracker = try ChangeTracker(
      file, image: image, boot: boot, isInSession: isInSession, isStrict: options.isStrict,
      isSoleWriter: options.isSoleWriter)
    keep(.kept(tracker), &record, leaf)
  }

  /// `whenAbsent`: the refusal when there is no file.
  private func kept(
    _ record: Record, whenAbsent: (String) -> ImageError = TrackingError.noFile
  ) throws(ImageError) -> ChangeTracker {
    switch record {
    case .kept(let tracker):
      if let failure = tracker.failure { throw failure }
      return tracker
    case .refused(let reason): throw reason
    case .none, .unknown: throw whenAbsent(place.path ?? "")
    }
  }

  /// Whether the record was ended by its user.
  static func isOff(_ refusal: ImageError) -> Bool {
    refusal.returnValue == .invalidState && refusal.errno == .notPermitted
  }

  /// Nanoseconds since 1970.
  private static func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
