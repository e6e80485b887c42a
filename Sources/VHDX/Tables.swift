import Storage

/// The image's tables as they are now: the cache of block table and bitmap pages, and what goes with them. Lives in
/// the image's `tables` lock.
struct Tables: ~Copyable {
  /// 8 MiB of pages, used as far as they are needed.
  static let cachePages = 2048
  /// From so many changed pages on a commit is due.
  static let commitThreshold = 96
  /// With so many changed pages writers wait for a commit.
  static let dirtyLimit = 1024

  var cache: PageCache
  /// What a log that has not been replayed says; gone once writing begins.
  var overlay: LogOverlay?
  var isWriting = false
  /// A clean close waits for the operations under way; new ones begin a session first, or go on with this one.
  var isFinishing = false
  var space: SpaceMap
  /// Until the whole table was looked through: the entries whose places this program gave out behind the file's old end.
  /// Any other that speaks of room there is of a file that was cut, and has no claim to what is put there now.
  var placed: Set<UInt64> = []
  /// Counts changes of tables; room that was released waits for its change to be durable.
  var changes: UInt64 = 0
  /// Blocks of which all users are waited for, before they may be released.
  var quietBlocks: [UInt64] = []
  /// The last change that is durable.
  var committedChanges: UInt64 = 0
  /// Why nothing can be written any more.
  var failure: ImageError?
  /// Copies of the header's, so that asking needs not wait for a commit.
  var dataWriteGUID: GUID
  var fileWriteGUID: GUID

  /// Set by a step that could not go on: the page it needs, or that a commit must come first.
  var missingPage: UInt64?
  var needsCommit = false

  init(overlay: LogOverlay?, fileSize: UInt64, header: Header, cachePages: Int) {
    cache = PageCache(pageSize: VHDXFormat.pageSize, capacity: cachePages)
    self.overlay = overlay
    space = SpaceMap(fileSize: fileSize)
    dataWriteGUID = header.dataWriteGUID
    fileWriteGUID = header.fileWriteGUID
  }

  /// The size that offsets are checked against: with a log to be replayed, the file counts as grown.
  var wholeFileSize: UInt64 { max(space.fileSize, overlay?.lastFileOffset ?? 0) }

  /// Whether a change may begin now.
  var mayChange: Bool { isWriting && !isFinishing }

  /// Up to where entry `index` may speak of the file. While the file has its old size, that is the bound by itself.
  func trustedEnd(_ index: UInt64) -> UInt64 {
    space.hasGrown && !space.isAdopted && !placed.contains(index) ? space.initialFileSize : .max
  }

  /// Whether a change may be put into the pages; where it may not, a commit is asked for.
  mutating func canTakeChange() throws(ImageError) -> Bool {
    if let failure { throw failure }
    guard cache.dirtyCount < Tables.dirtyLimit else {
      needsCommit = true
      return false
    }
    return true
  }

  mutating func markDirty(_ page: UInt64) {
    cache.markDirty(page)
    changes += 1
  }
}

/// Whether a step may wait for the medium.
enum PageAccess {
  case withoutWaiting, waiting
}

extension VHDXImage {
  /// Runs `step` under the lock of the tables until it has an answer.
  ///
  /// A step that answers nil has said what it needs: a page, which is brought into the host's cache without the lock
  /// before the next try, or a commit. With `mayWait` false the answer is nil then.
  func withTables<Answer>(
    mayWait: Bool, _ step: (inout Tables, PageAccess) throws(ImageError) -> Answer?
  ) throws(ImageError) -> Answer? {
    var access = PageAccess.withoutWaiting
    while true {
      var missing: UInt64?
      var needsCommit = false
      let answer: Answer? = try tables.withLock { (tables) throws(ImageError) -> Answer? in
        tables.missingPage = nil
        tables.needsCommit = false
        let answer = try step(&tables, access)
        missing = tables.missingPage
        needsCommit = tables.needsCommit
        return answer
      }
      if let answer { return answer }
      guard mayWait else { return nil }
      if needsCommit { try commit() }
      if let missing { prefetch(missing) }
      access = .waiting
    }
  }

  /// Brings a page of the file into the host's cache, so that reading it under the lock does not wait.
  private func prefetch(_ page: UInt64) {
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: VHDXFormat.pageSize, alignment: 4096)
    defer { scratch.deallocate() }
    // An error shows when the page is read for its contents.
    _ = try? file.readUpTo(scratch, at: page)
  }

  /// The page of tables at `offset` (a multiple of 4096), from the cache or the file; nil when that would wait or
  /// needs a commit first.
  func page(
    _ offset: UInt64, _ tables: inout Tables, _ access: PageAccess
  ) throws(ImageError) -> UnsafeMutableRawBufferPointer? {
    if let found = tables.cache.find(offset) {
      return UnsafeMutableRawBufferPointer(start: found, count: VHDXFormat.pageSize)
    }
    let overlay = tables.overlay
    if access == .withoutWaiting {
      // The scratch page on the stack: a cache page is claimed only when there is something to put into it.
      return try withUnsafeTemporaryAllocation(byteCount: VHDXFormat.pageSize, alignment: 4096) {
        (scratch) throws(ImageError) -> UnsafeMutableRawBufferPointer? in
        guard overlay == nil, try file.readWithoutWaiting(into: scratch, at: offset) == .complete else {
          tables.missingPage = offset
          return nil
        }
        guard let page = claim(offset, &tables) else { return nil }
        page.copyMemory(from: UnsafeRawBufferPointer(scratch))
        return page
      }
    }
    return try withUnsafeTemporaryAllocation(byteCount: VHDXFormat.pageSize, alignment: 4096) {
      (scratch) throws(ImageError) -> UnsafeMutableRawBufferPointer? in
      if let overlay {
        try overlay.read(file, into: scratch, at: offset)
      } else {
        try file.read(into: scratch, at: offset)
      }
      guard let page = claim(offset, &tables) else { return nil }
      page.copyMemory(from: UnsafeRawBufferPointer(scratch))
      return page
    }
  }

  private func claim(_ offset: UInt64, _ tables: inout Tables) -> UnsafeMutableRawBufferPointer? {
    guard let slot = tables.cache.insert(offset) else {
      tables.needsCommit = true
      return nil
    }
    return UnsafeMutableRawBufferPointer(start: slot, count: VHDXFormat.pageSize)
  }

  // MARK: - Block table

  /// The file offset of the page that holds entry `index`.
  func pageOfEntry(_ index: UInt64) -> UInt64 {
    regions.blockTable.offset + (index * 8) & ~UInt64(VHDXFormat.pageSize - 1)
  }

  func entry(_ index: UInt64, _ tables: inout Tables, _ access: PageAccess) throws(ImageError)
    -> BlockTableEntry?
  {
    guard let page = try page(pageOfEntry(index), &tables, access) else { return nil }
    return BlockTableEntry(
      rawValue: UnsafeRawBufferPointer(page).littleEndian(
        UInt64.self, at: Int(index * 8 % UInt64(VHDXFormat.pageSize))))
  }

  /// Changes entry `index`, whose page the caller has just had from `entry`.
  func setEntry(_ index: UInt64, _ entry: BlockTableEntry, _ tables: inout Tables) {
    let offset = pageOfEntry(index)
    guard let slot = tables.cache.find(offset) else {
      preconditionFailure("the page was loaded under this lock")
    }
    UnsafeMutableRawBufferPointer(start: slot, count: VHDXFormat.pageSize)
      .storeLittleEndian(entry.rawValue, at: Int(index * 8 % UInt64(VHDXFormat.pageSize)))
    if !tables.space.isAdopted, entry.offset >= tables.space.initialEnd { tables.placed.insert(index) }
    tables.markDirty(offset)
  }

  /// Refuses to change a block that reaches behind the end that the file had, where room for others is made.
  func checkUncut(_ entry: BlockTableEntry, block: UInt64, _ tables: borrowing Tables) throws(ImageError) {
    guard entry.state == .fullyPresent || entry.state == .partiallyPresent else { return }
    guard entry.offset + geometry.blockLength(block) <= tables.trustedEnd(geometry.payloadIndex(block)) else {
      throw cutBlock(block, entry.offset)
    }
  }

  func cutBlock(_ block: UInt64, _ place: UInt64) -> ImageError {
    damagedEntry("block \(block) lies at \(place), and the file ended before the block does: it was cut")
  }

  /// Checks that `entry` can be what payload block `block` says; reads of a block that fails this fail.
  func check(_ entry: BlockTableEntry, block: UInt64, _ tables: borrowing Tables) throws(ImageError) {
    switch entry.state {
    case .notPresent, .undefined, .zero, .unmapped: break
    case .fullyPresent: try checkPlace(entry, length: blockSize, what: "block \(block)")
    case .partiallyPresent where isDifferencing:
      try checkPlace(entry, length: blockSize, what: "block \(block)")
    case .partiallyPresent:
      throw damagedEntry("block \(block) is partly present, but the file has no parent")
    default:
      throw damagedEntry("block \(block) is in the reserved state \(entry.state.rawValue)")
    }
  }

  func checkPlace(_ entry: BlockTableEntry, length: UInt64, what: @autoclosure () -> String)
    throws(ImageError)
  {
    let offset = entry.offset
    if offset >= structuresEnd, entry.reservedBits == 0, offset <= VHDXFormat.maximumFileOffset { return }
    guard entry.reservedBits == 0 else { throw damagedEntry("\(what()) has reserved bits set") }
    guard offset <= VHDXFormat.maximumFileOffset else {
      throw damagedEntry("\(what()) is said to lie at \(offset), where no file reaches")
    }
    guard !structures.contains(where: { $0.overlaps(offset..<(offset + length)) }) else {
      throw damagedEntry("\(what()) is said to lie at \(offset), where the file's own tables are")
    }
  }

  func damagedEntry(_ what: String) -> ImageError {
    .damaged(file.path, at: regions.blockTable.offset, "the block table is damaged: \(what)")
  }
}
