import Storage
import Synchronization

/// The session record: durable before the image's first changed byte, and set right at the clean close.
extension ChangeTracker {
  /// Says that the image is about to be changed, and what write ids it will have then. Returns when that is durable.
  /// Also when a session is under way: the ids are renewed again where its end did not come to be told.
  ///
  /// Errors: the host's. The image must not be changed then.
  public func beginSession(_ image: ImageState, announcing after: ImageState.WriteIdentity?)
    throws(ImageError)
  {
    try keeping.withLock { (_) throws(ImageError) in
      if isStrict, let lost = state.withLock({ $0.lost }) { throw lost }
      guard failure == nil else { return }
      try keepPresumed()
      try updateHeader { header in
        header.state = .open
        header.boot = boot
        header.identity = image.identity
        header.hasWriteIdentity = image.writes != nil
        header.before = image.writes ?? .none
        header.after = after ?? .none
      }
      state.withLock { $0.isInSession = true }
    }
  }

  /// Says that the image is closed, and what it is now. Durable when it returns. The caller has seen to it that
  /// no write is under way and that the image itself is durable.
  public func endSession(_ image: ImageState) throws(ImageError) {
    try keeping.withLock { (_) throws(ImageError) in
      let isDue = state.withLock { $0.isInSession && $0.failure == nil }
      guard isDue else { return }
      if let lost = state.withLock({ $0.lost }) { return try invalidate(lost) }
      // The bits of all writes, before the header says that they are whole.
      try flushRecord()
      let isMarked = state.withLock { !$0.marks.isEmpty }
      if isMarked {
        var none = RegionMarks(state.withLock { $0.header })
        none.sequence = 0
        state.withLock { state in
          state.marks.removeAll()
          state.wanted.removeAll()
          state.touched.removeAll()
        }
        try writeMarks(none)
      }
      try updateHeader { header in
        header.state = .clean
        header.diskSize = image.diskSize
        header.otherDiskSize = 0
        header.before = image.writes ?? .none
        header.after = .none
        header.fileSize = image.fileSize
        header.modified = image.modified
        header.identity = image.identity
        header.openBlocks = state.withLock { UInt32($0.directory.open.count) }
      }
      state.withLock { $0.isInSession = false }
    }
  }

  /// After a power cut: writes down, in coarse bits, what counts as changed. The caller holds `keeping`, and writes a
  /// header next: by it the record is whole again, and the marks of that time need not be presumed once more.
  func keepPresumed() throws(ImageError) {
    let isDue = state.withLock { $0.presumed != nil }
    guard isDue else { return }
    // A coarse block for each region at most, and there are few.
    while state.withLock({ $0.directory.freeCount < TrackingFormat.mostCoarseBlocks }) { try addChunk() }
    try state.withLock { (state) throws(ImageError) in
      guard let presumed = state.presumed, !state.points.isEmpty else { return }
      // A coarse block in pieces: everything is presumed then, so it may say so at once.
      for index in state.damagedBlocks where index >= TrackingFormat.firstCoarseIndex {
        try state.replaceBlock(index, file, byte: 0xFF)
      }
      var region = 0
      while region < presumed.count {
        var end = region
        while end < presumed.count, presumed.contains(end) { end += 1 }
        if end > region {
          _ = try state.setBits(
            UInt64(region)..<UInt64(end), base: TrackingFormat.firstCoarseIndex, file, mayWait: true)
        }
        region = end + 1
      }
    }
    // Before a block in pieces, from which part of this is known, is written over; and before the header forgets that
    // there was a power cut.
    try flushRecord()
    try state.withLock { (state) throws(ImageError) in
      for index in state.damagedBlocks where index < TrackingFormat.firstCoarseIndex {
        try state.replaceBlock(index, file, byte: 0)
      }
      state.damagedBlocks = []
    }
    let marks = state.withLock { $0.marks }
    // Both tables: one of them may be the one that the power cut left in pieces.
    for _ in 0..<2 { try writeMarks(marks) }
    state.withLock { state in
      state.presumed = nil
      state.header.boot = boot
      state.header.identity = identity
    }
  }
}

extension TrackerState {
  /// Makes a block of the open interval a whole one, all of whose bits are those of `byte`.
  mutating func replaceBlock(_ index: UInt32, _ file: HostFile, byte: UInt8) throws(ImageError) {
    guard let slot = directory.open[index] else { return }
    cache.removeAll()
    let block = BitmapBlock()
    let bits = UnsafeMutableRawBufferPointer(rebasing: block.bytes[TrackingFormat.blockHeaderSize...])
    bits.initializeMemory(as: UInt8.self, repeating: byte)
    BitmapBlock.seal(block.bytes, history: header.history, interval: header.interval, index: index)
    try file.write(UnsafeRawBufferPointer(block.bytes), at: TrackingFormat.blockOffset(slot))
  }
}
