import Storage
import Synchronization

/// The blocks of a dynamic or differencing image: resolving, writing, committing.
///
/// Invariants:
/// - Payload bytes move outside of every lock.
/// - What the table in memory says, the file says after the next commit. In between the file says what it
///   said before, and the room that speaks of is not used for anything else.
/// - Room is handed out only when it reads as zero, so that a block whose data was not written yet shows
///   zeros.
///
/// Lock order: `upkeep`, then `state`. Nothing waits for the medium under `state`, but for pages that were
/// read a moment before. `upkeep` is held through commits, the making of room, and the begin and end of
/// writing.
final class BlockStore: Sendable {
  let file: HostFile
  let layout: BlockLayout
  let gate: OperationGate
  /// How the footer was found when the file was opened.
  let search: FooterSearch
  let state: Mutex<BlockState>
  let upkeep: Mutex<Upkeep>
  /// Counts commits when they begin; what a committer awaits is one that began after it asked.
  let commitsBegun = Atomic<UInt64>(0)

  /// What only the holder of the upkeep lock knows.
  struct Upkeep: Sendable {
    /// The footer's bytes, for putting them elsewhere unchanged.
    var footer: [UInt8]
    /// The number of the last commit that succeeded.
    var lastCommit: UInt64 = 0
    /// The copy and the tail of the footer are both good.
    var footersAreGood = false

    /// Where the dynamic header is that the footer names.
    var headerOffset: UInt64 {
      footer.withUnsafeBytes { $0.bigEndian(at: Footer.dataOffsetField) }
    }
  }

  init(
    _ file: HostFile, _ layout: BlockLayout, _ search: FooterSearch, _ gate: OperationGate, tablePages: Int
  ) {
    self.file = file
    self.layout = layout
    self.search = search
    self.gate = gate
    upkeep = Mutex(Upkeep(footer: search.bytes))
    let bounds = BlockBounds(end: search.tailOffset, hasFooter: search.tail != .lost)
    state = Mutex(BlockState(layout, bounds, tablePages: UInt64(max(4, tablePages))))
  }

  /// Takes steps under the lock until there is an answer, doing what each demands in between; nil when that
  /// would have to wait and may not.
  func resolve<Answer: Sendable>(
    mayWait: Bool, _ body: (inout BlockState, PageSource) throws(ImageError) -> Step<Answer>
  ) throws(ImageError) -> Answer? {
    var source = PageSource.memory
    while true {
      let step = try state.withLock { (state) throws(ImageError) -> Step<Answer> in try body(&state, source) }
      if case .done(let answer) = step { return answer }
      guard mayWait else { return nil }
      switch step {
      case .done(let answer): return answer
      case .load(let offset, let length):
        // Brings the page into the host's memory; the lock is then held for a copy only. Its bytes are read
        // again under the lock, because they may be changed, written and evicted before this thread gets
        // it.
        let page = ByteBuffer(count: length)
        try file.read(into: page.bytes, at: offset)
        source = .medium
      case .commit: try commit()
      case .room: try makeRoom()
      case .scan: try scanTable()
      }
    }
  }

  /// The run at `offset`; see `FormatImage.locate`.
  func locate(_ offset: UInt64, limit: UInt64, mayWait: Bool) throws(ImageError) -> Run {
    let (file, length) = (file, min(limit, layout.virtualSize - offset))
    let run = try resolve(mayWait: mayWait) { (state, source) throws(ImageError) -> Step<Run> in
      try state.locate(offset, length, file, source)
    }
    return run ?? Run(.unknown, length: min(length, layout.blockSize - offset % layout.blockSize))
  }

  /// Looks at the whole table for overlaps, once, before the first block is believed.
  private func scanTable() throws(ImageError) {
    try upkeep.withLock { (_) throws(ImageError) in
      // Nothing can have changed the table before it was scanned: writing begins with a scan.
      guard let bounds = state.withLock({ $0.isScanned ? nil : $0.bounds }) else { return }
      let scan = try TableScan(layout, bounds, file)
      state.withLock { $0.note(scan) }
    }
  }
}
