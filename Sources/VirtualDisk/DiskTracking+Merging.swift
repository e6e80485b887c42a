import ChangeTracking
import Storage

/// The record of a disk that others are merged into.
extension DiskTracking {
  /// Begins writing with those ids, as `beginWriting`; but before that all that the merge is going to change is
  /// recorded, durably, and the points of the disks above are taken over. Nothing is noted from then on. The caller is
  /// inside no gate. Waits.
  ///
  /// - Parameters:
  ///   - size: bytes of the disk when the merge is done.
  ///   - above: the records of the disks above, nearest first, where they count.
  ///   - held: goes through all that those disks hold.
  ///
  /// Returns whether the record is of this kind, which `finishMerge` must be told.
  func beginMerge(
    _ leaf: Layer, as identity: ImageState.WriteIdentity, size: UInt64, above: [ChangeTracker?],
    held: ((MergedRecord.Held) throws(ImageError) -> Void) throws(ImageError) -> Void
  ) throws(ImageError) -> Bool {
    let isMerged = try sessions.withLock { (record) throws(ImageError) -> Bool in
      try load(&record, leaf)
      var own: ChangeTracker?
      if case .kept(let tracker) = record, tracker.failure == nil { own = tracker }
      let merged = try MergedRecord([own] + above, size: size)
      guard place.isPlace, merged.hasPoints || own != nil && size != leaf.virtualSize else { return false }
      let image = try DiskTracking.state(of: leaf)
      // It takes the old one's place when it is durable, and before the image's first changed byte.
      let file = try place.replace(like: leaf.file) { (file) throws(ImageError) in
        try merged.write(
          file, for: image, announcing: image.writes == nil ? nil : identity, boot: boot,
          regionShift: options.regionShift, held: held)
      }
      let tracker = try ChangeTracker(
        file, image: image, boot: boot, isInSession: true, isStrict: options.isStrict,
        isSoleWriter: options.isSoleWriter)
      tracker.suspend()
      keep(.kept(tracker), &record, leaf)
      try leaf.beginWriting(identity)
      return true
    }
    if !isMerged { try beginWriting(leaf, as: identity) }
    return isMerged
  }

  /// The clean close after a merge that is done: the image first, then what the record kept for the case that it would not
  /// be. Waits.
  func finishMerge(_ leaf: Layer, isMerged: Bool) throws(ImageError) {
    try finishing.withLock { (_) throws(ImageError) in
      try leaf.finishWriting()
      try sessions.withLock { (record) throws(ImageError) in
        // The image is durable by now, as it is to be.
        if isMerged, case .kept(let tracker) = record { try tracker.endMerge() }
        try endSession(record, leaf)
      }
    }
  }

  /// The record, where there is one that counts. Errors: the host's.
  func countingTracker(_ leaf: Layer) throws(ImageError) -> ChangeTracker? {
    do throws(ImageError) {
      return try tracker(leaf)
    } catch {
      let refusals: [ReturnValue] = [.invalidState, .wrongDataType, .notSupported, .fileNotFound]
      guard refusals.contains(error.returnValue) else { throw error }
      return nil
    }
  }
}

extension TrackingFile {
  fileprivate var isPlace: Bool { if case .none = self { false } else { true } }
}
