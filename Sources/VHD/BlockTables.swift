import Glibc
import Storage

/// How a table page that is not in the cache may be read while the lock is held.
enum PageSource {
  /// Only if the host has it in memory.
  case memory
  /// Waiting if need be; it was read a moment ago without the lock, so that normally there is nothing to
  /// wait for.
  case medium
}

/// What a step under the lock came to.
enum Step<Answer: Sendable>: Sendable {
  case done(Answer)
  /// This page must be read first: ask again with `.medium`, after reading it once without the lock.
  case load(offset: UInt64, length: Int)
  /// Every page of the cache holds changes: commit, and ask again.
  case commit
  /// No zeroed room is left: make some, and ask again.
  case room
  /// The whole table must be looked at first.
  case scan
}

/// A page of the cache, or what must happen first.
enum PageAnswer {
  case page(UnsafeMutableRawPointer)
  case load(offset: UInt64, length: Int)
  case cacheIsFull
}

/// The block table and the sector bitmaps, by pages in bounded memory. Lives inside the image's lock.
struct BlockTables: ~Copyable {
  let layout: BlockLayout
  var entries: PageCache
  var bitmaps: PageCache
  var full: FullBlocks
  /// Room for one page on its way into a cache.
  private let incoming = ByteBuffer(count: 4096)

  /// Pages of each cache: 4 MiB of table (2 TiB of disk in 2 MiB blocks), and 4 to 32 MiB of bitmaps, of
  /// which memory is used only as far as they are.
  static let mostPages: UInt64 = 8192

  /// How many pages each cache has at most here.
  let limit: UInt64

  init(_ layout: BlockLayout, limit: UInt64) {
    self.layout = layout
    self.limit = limit
    let tablePages = (layout.blockCount * 4 + 4095) / 4096
    let bitmapPages = layout.blockCount * (layout.bitmapLength / UInt64(layout.bitmapPage))
    entries = PageCache(pageSize: BlockLayout.tablePage, capacity: Int(min(max(tablePages, 4), limit, 1024)))
    bitmaps = PageCache(
      pageSize: layout.bitmapPage, capacity: Int(min(max(bitmapPages, 4), limit)))
    full = FullBlocks(blockCount: layout.blockCount)
  }

  // MARK: - The table

  func tablePage(of block: UInt64) -> UInt64 {
    layout.tableOffset + block / 1024 * UInt64(BlockLayout.tablePage)
  }

  /// Bytes of a page that belong to the table: the last page ends where the table does, and what follows in
  /// the file is something else's.
  func lengthOfTablePage(_ key: UInt64) -> Int {
    Int(min(UInt64(BlockLayout.tablePage), layout.tableEnd - key))
  }

  /// The page with the entry of `block`; good for looking at until the next call here, and for changing as
  /// long as it is in the cache: with `forChange` it always is.
  mutating func entryPage(
    of block: UInt64, _ file: HostFile, _ source: PageSource, forChange: Bool
  ) throws(ImageError) -> PageAnswer {
    let key = tablePage(of: block)
    if let page = entries.find(key) { return .page(page) }
    let length = lengthOfTablePage(key)
    guard try read(key, length, file, source) else { return .load(offset: key, length: length) }
    // What follows the table in its last page is never looked at.
    return BlockTables.keep(incoming, in: &entries, key, forChange: forChange)
  }

  static func entry(of block: UInt64, in page: UnsafeMutableRawPointer) -> UInt32 {
    UInt32(bigEndian: page.load(fromByteOffset: Int(block % 1024) * 4, as: UInt32.self))
  }

  /// Changes the entry of `block`, whose page is in the cache.
  mutating func setEntry(of block: UInt64, in page: UnsafeMutableRawPointer, to entry: UInt32) {
    page.storeBytes(of: entry.bigEndian, toByteOffset: Int(block % 1024) * 4, as: UInt32.self)
    entries.markDirty(tablePage(of: block))
  }

  // MARK: - Bitmaps

  /// Where the page with the bit of the sector at `inBlock` (bytes from the block's beginning) lies in the
  /// file.
  func bitmapPage(of inBlock: UInt64, at place: UInt64) -> UInt64 {
    place + inBlock / layout.bitmapPageCoverage * UInt64(layout.bitmapPage)
  }

  /// The page with that bit.
  mutating func bits(
    of inBlock: UInt64, at place: UInt64, _ file: HostFile, _ source: PageSource, forChange: Bool
  ) throws(ImageError) -> PageAnswer {
    let key = bitmapPage(of: inBlock, at: place)
    if let page = bitmaps.find(key) { return .page(page) }
    guard try read(key, layout.bitmapPage, file, source) else {
      return .load(offset: key, length: layout.bitmapPage)
    }
    return BlockTables.keep(incoming, in: &bitmaps, key, forChange: forChange)
  }

  /// A block's bitmap at a fresh place: what the cache holds of an earlier block there is forgotten. In a child the
  /// place reads as zero in the file, and no bit is set; otherwise the whole bitmap was written there.
  mutating func newBitmap(of block: UInt64, at place: UInt64) {
    full.remove(block)
    for key in stride(from: place, to: place + layout.bitmapLength, by: layout.bitmapPage) {
      guard let page = bitmaps.find(key) ?? (key == place ? bitmaps.insert(key) : nil) else { continue }
      memset(page, 0, layout.bitmapPage)
      guard !layout.isDifferencing else { continue }
      let inBlock = (key - place) / UInt64(layout.bitmapPage) * layout.bitmapPageCoverage
      let length = min(
        layout.bitmapPageCoverage, layout.diskLength(of: block) - min(inBlock, layout.diskLength(of: block)))
      let (bits, sectors) = sectors(of: inBlock, length: length, in: page)
      _ = bits.set(sectors)
    }
    if !layout.isDifferencing { full.insert(block) }
  }

  /// A page's bits, and the sectors of `inBlock ..< inBlock + length` among them: the length must stay in
  /// the page.
  func sectors(
    of inBlock: UInt64, length: UInt64, in page: UnsafeMutableRawPointer
  ) -> (bits: SectorBits, range: Range<Int>) {
    let inPage = inBlock % layout.bitmapPageCoverage
    let bits = SectorBits(bytes: UnsafeMutableRawBufferPointer(start: page, count: layout.bitmapPage))
    return (bits, Int(inPage / 512)..<Int((inPage + length + 511) / 512))
  }

  /// Notes that `block` needs no look at its bitmap, if that is one page with every bit of the disk's set.
  mutating func noteIfFull(_ block: UInt64, _ bits: SectorBits) {
    guard layout.bitmapPage == Int(layout.bitmapLength) else { return }
    if bits.areSet(0..<Int(layout.diskLength(of: block) / 512)) { full.insert(block) }
  }

  /// Moves what was read into the cache; where that is full of changes, it can be looked at all the same.
  private static func keep(
    _ incoming: borrowing ByteBuffer, in cache: inout PageCache, _ key: UInt64, forChange: Bool
  ) -> PageAnswer {
    guard let start = incoming.bytes.baseAddress else { return .cacheIsFull }
    guard let page = cache.insert(key) else { return forChange ? .cacheIsFull : .page(start) }
    page.copyMemory(from: start, byteCount: cache.pageSize)
    return .page(page)
  }

  /// Reads into `incoming`; false if that would have to wait and may not.
  private func read(
    _ offset: UInt64, _ length: Int, _ file: HostFile, _ source: PageSource
  ) throws(ImageError) -> Bool {
    switch source {
    case .memory:
      return try file.readWithoutWaiting(into: incoming.slice(0..<length), at: offset) == .complete
    case .medium: try file.read(into: incoming.slice(0..<length), at: offset)
    }
    return true
  }
}
