import Storage

extension BlockStore {
  /// Makes everything durable that had completed when this was called.
  ///
  /// Those who come while a commit is under way share the next one.
  func commit() throws(ImageError) {
    let wanted = commitsBegun.load(ordering: .sequentiallyConsistent) + 1
    try upkeep.withLock { (upkeep) throws(ImageError) in
      if upkeep.lastCommit >= wanted { return }
      try commit(&upkeep)
    }
  }

  /// One commit: two flushes, whatever the number of changes.
  func commit(_ upkeep: inout Upkeep) throws(ImageError) {
    let number = commitsBegun.add(1, ordering: .sequentiallyConsistent).newValue
    guard let snapshot = try takeSnapshot() else {
      // Nothing was written here, but a program that was killed before it could flush may have written what is read
      // here: who asks for a flush relies on that too.
      try flush()
      upkeep.lastCommit = number
      return
    }
    do throws(ImageError) {
      // First the data and the zeroing of room that the tables are going to speak of: were a bit or an
      // entry durable before them, a crash would show what lay there earlier.
      try flush()
      if !snapshot.isEmpty {
        try snapshot.write(to: file)
        // Only after this is what the caller wrote found again, and may freed room be used for something
        // else.
        try flush()
      }
    } catch {
      state.withLock { $0.restore(snapshot) }
      throw error
    }
    let epoch = gate.current
    state.withLock { $0.accept(snapshot, epoch: epoch) }
    upkeep.lastCommit = number
    releaseEmptyBlocks()
    zeroStablePlaces()
  }

  private func takeSnapshot() throws(ImageError) -> TableSnapshot? {
    try state.withLock { (state) throws(ImageError) -> TableSnapshot? in
      switch state.phase {
      case .reading: nil
      case .refused(let reason): throw reason
      case .writing, .finishing: state.takeSnapshot()
      }
    }
  }

  /// Zeroes freed places that the file no longer speaks of and nobody can still be using, and gives their
  /// room back to the host; they may be used again after that. Errors put them off, no more.
  func zeroStablePlaces() {
    guard state.withLock({ !$0.room.stable.isEmpty }) else { return }
    gate.advance()
    let epoch = gate.advance()
    let ripe = state.withLock { state in
      let ripe = state.room.stable.filter { $0.epoch + 2 <= epoch }.map(\.place)
      state.room.stable.removeAll { $0.epoch + 2 <= epoch }
      return ripe
    }
    for place in ripe {
      do throws(ImageError) {
        try file.punch(at: place, length: layout.bitmapLength + layout.blockSize)
        state.withLock { $0.room.zeroed.append(place) }
      } catch {
        state.withLock { $0.room.stable.append((place: place, epoch: epoch)) }
      }
    }
  }
}

/// The pages of the tables that a commit writes, as they were when it began: what changes while it runs is
/// the next commit's, because the data that belongs to it may not be durable.
final class TableSnapshot: Sendable {
  struct Page: Sendable {
    var key: UInt64
    var bytes: [UInt8]
  }

  let entries: [Page]
  let bitmaps: [Page]
  /// Places whose blocks have none any more once `entries` are in the file.
  let freed: [UInt64]

  init(entries: [Page], bitmaps: [Page], freed: [UInt64]) {
    self.entries = entries
    self.bitmaps = bitmaps
    self.freed = freed
  }

  var isEmpty: Bool { entries.isEmpty && bitmaps.isEmpty && freed.isEmpty }

  /// In any order: the data is durable by now, and a block's entry without its bits, or the bits without
  /// the entry, shows what was there before the write.
  func write(to file: HostFile) throws(ImageError) {
    for page in bitmaps + entries {
      let buffer = ByteBuffer(copying: page.bytes)
      try file.write(buffer.readable, at: page.key)
    }
  }
}

extension BlockState {
  /// Takes all changes over into a snapshot; the pages stay in the cache until it is accepted or restored.
  mutating func takeSnapshot() -> TableSnapshot {
    var entries: [TableSnapshot.Page] = []
    for key in tables.entries.dirtyKeys() {
      guard let page = tables.entries.find(key) else { continue }
      let bytes = UnsafeRawBufferPointer(start: page, count: tables.lengthOfTablePage(key))
      entries.append(TableSnapshot.Page(key: key, bytes: Array(bytes)))
      tables.entries.hold(key)
    }
    var bitmaps: [TableSnapshot.Page] = []
    for key in tables.bitmaps.dirtyKeys() {
      guard let page = tables.bitmaps.find(key) else { continue }
      let bytes = UnsafeRawBufferPointer(start: page, count: layout.bitmapPage)
      bitmaps.append(TableSnapshot.Page(key: key, bytes: Array(bytes)))
      tables.bitmaps.hold(key)
    }
    let freed = room.freed
    room.freed = []
    return TableSnapshot(entries: entries, bitmaps: bitmaps, freed: freed)
  }

  /// The snapshot is durable.
  mutating func accept(_ snapshot: TableSnapshot, epoch: UInt64) {
    for page in snapshot.entries { tables.entries.release(page.key) }
    for page in snapshot.bitmaps { tables.bitmaps.release(page.key) }
    room.stable += snapshot.freed.map { (place: $0, epoch: epoch) }
  }

  /// The snapshot is not in the file, or not known to be: its changes are to be written again.
  mutating func restore(_ snapshot: TableSnapshot) {
    for page in snapshot.entries { tables.entries.release(page.key, changesLost: true) }
    for page in snapshot.bitmaps { tables.bitmaps.release(page.key, changesLost: true) }
    room.freed += snapshot.freed
  }
}
