import Storage
import Synchronization

/// The record of a disk into which the disks above it are merged.
///
/// It is made anew, whole, from the records of all of them, and takes the place of the old one before the first byte of the
/// disk changes. Until `endMerge` every answer holds all that the merge may change; from then on a point that came
/// from a record above is answered as it was there.
extension ChangeTracker {
  /// From now on no change is noted, because all that is going to be changed was recorded before.
  public func suspend() { status.store(Status.idle, ordering: .sequentiallyConsistent) }

  /// The merge is done, and durable: what was recorded for the case that it would not be is forgotten. Durable when it
  /// returns.
  public func endMerge() throws(ImageError) {
    try keeping.withLock { (_) throws(ImageError) in
      guard failure == nil else { return }
      let slots = state.withLock { Array($0.directory.open.values) }
      // Each entry by itself: one that a power cut leaves only says too much.
      for slot in slots {
        try state.withLock { (state) throws(ImageError) in try state.writeEntry(0, slot, file) }
      }
      // Before a header says how many there are.
      try flushRecord()
      state.withLock { state in
        state.directory.giveBack(state.directory.removeOpen())
        state.cache.removeAll()
      }
    }
  }
}

/// What a record brings along into a merged one.
struct RecordContents {
  let file: HostFile
  let header: TrackingHeader
  var points: [ReferencePoint]
  /// With their intervals, the open one's among them.
  let blocks: [BlockDirectory.Block]
  /// Regions that count as changed as a whole, in the newest interval.
  let presumed: RegionMarks?

  init(_ tracker: ChangeTracker) throws(ImageError) {
    if let failure = tracker.failure { throw failure }
    file = tracker.file
    (header, points, blocks, presumed) = tracker.state.withLock { state in
      let interval = state.header.interval
      let open = state.directory.open.filter { !state.damagedBlocks.contains($0.key) }
        .map { BlockDirectory.Block(index: $0.key, interval: interval, slot: $0.value) }
      return (state.header, state.points, state.directory.ended + open, state.presumed)
    }
  }

  /// Which point's interval an old interval belongs to: that of the last point before it; nil: of none that is left.
  func place(of interval: UInt32) -> Int? { points.lastIndex { $0.firstInterval <= interval } }
}
