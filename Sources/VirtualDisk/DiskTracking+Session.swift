import ChangeTracking
import Glibc
import Storage
import Synchronization

/// The beginning and the end of writing, for the image and the record of its changes.
extension DiskTracking {
  /// Begins writing, unless it has begun: the record's session first, durably, with the ids that the image then gets.
  /// The caller is inside no gate. Waits.
  ///
  /// - Parameter identity: those ids; nil: new ones.
  ///
  /// Errors: those of the image; a record that neither can be kept nor ended. The image is unchanged then.
  func beginWriting(_ leaf: Layer, as identity: ImageState.WriteIdentity? = nil) throws(ImageError) {
    try sessions.withLock { (record) throws(ImageError) in
      guard !leaf.isWriting else { return }
      try load(&record, leaf)
      let after =
        identity ?? ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: .random())
      switch record {
      case .kept(let tracker):
        let image = try DiskTracking.state(of: leaf)
        do throws(ImageError) {
          try tracker.beginSession(image, announcing: image.writes == nil ? nil : after)
        } catch {
          if options.isStrict { throw error }
          try tracker.giveUp(error)
          warn(error.description)
        }
      case .refused:
        if let file = try place.open(writable: true) { try ChangeTracker.disown(file) }
      case .none, .unknown: break
      }
      do throws(ImageError) {
        try leaf.beginWriting(after)
      } catch {
        // Nothing is written, so the record need not say that something may be; unless the file has got its new ids, and
        // only their flush failed.
        if !leaf.isInSession, leaf.hasItsIdentity { try? endSession(record, leaf) }
        throw error
      }
    }
  }

  /// The clean close, of the image first. Waits.
  ///
  /// Errors: those of the image; with `isStrict` those of the record too.
  func finishWriting(_ leaf: Layer) throws(ImageError) {
    try finishing.withLock { (_) throws(ImageError) in
      try leaf.finishWriting()
      try sessions.withLock { (record) throws(ImageError) in
        // Writing may have begun again.
        guard !leaf.isInSession else { return }
        do throws(ImageError) {
          try endSession(record, leaf)
        } catch {
          // The record stays open: the next opening finds it as a killed program's, which is never wrong.
          if options.isStrict { throw error }
          warn(error.description)
        }
      }
    }
  }

  func endSession(_ record: Record, _ leaf: Layer) throws(ImageError) {
    guard case .kept(let tracker) = record, tracker.isInSession else { return }
    // A zeroing noted its change, and would make it in the next session, without a mark.
    drain(leaf)
    // Its time of change must be as durable as the record that tells of it.
    try leaf.file.flushWithTimes()
    let image = try DiskTracking.state(of: leaf)
    if image.writes == nil { DiskTracking.waitForClock(after: image.modified) }
    try tracker.endSession(image)
  }

  /// Returns when a change of a file gets a later time than `modified`, nanoseconds since 1970. Files' times move in ticks of
  /// some milliseconds: another program that wrote a VHD in the tick of its close would leave no trace.
  private static func waitForClock(after modified: Int64) {
    // A time in the future, of a clock that was put back, is not waited for.
    for _ in 0..<20 {
      var time = timespec()
      clock_gettime(CLOCK_REALTIME_COARSE, &time)
      if Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec) > modified { return }
      usleep(1000)
    }
  }
}
