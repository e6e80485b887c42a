import Storage

/// Which blocks the file holds, and where: of each interval only those that have a bit set.
///
/// A directory entry is 8 bytes, written at once: bits 0–23 the block's index, 24–47 its interval, 48–63 the low bits of
/// a checksum of the others. Zero: the slot is free.
struct BlockDirectory: Sendable {
  struct Block: Sendable, Equatable {
    var index: UInt32
    var interval: UInt32
    var slot: UInt32
    /// Orders by index, then by interval.
    var key: UInt64 { UInt64(index) << 32 | UInt64(interval) }
  }

  /// Blocks of ended intervals, ordered by `key`. Several may have one key: then all of them count.
  private(set) var ended: [Block] = []
  /// Slots of the open interval's blocks, by index.
  private(set) var open: [UInt32: UInt32] = [:]
  /// Slots that can be used again.
  private var free = FreeSlots()

  static func encode(index: UInt32, interval: UInt32) -> UInt64 {
    let value = UInt64(index) | UInt64(interval) << 24
    return value | UInt64(check(value)) << 48
  }

  static func decode(_ entry: UInt64) -> (index: UInt32, interval: UInt32)? {
    let value = entry & 0xFFFF_FFFF_FFFF
    let interval = UInt32(value >> 24)
    guard check(value) == UInt16(entry >> 48), interval > 0 else { return nil }
    return (UInt32(value & 0xFF_FFFF), interval)
  }

  private static func check(_ value: UInt64) -> UInt16 {
    withUnsafeBytes(of: value.littleEndian) { UInt16(truncatingIfNeeded: Checksum.of($0)) }
  }

  init() {}

  /// Reads the directory of `file`. Entries of intervals before `oldest` are of dropped points, and free.
  ///
  /// Errors: damaged, when an entry is none, or of an interval that has not begun.
  init(_ file: HostFile, chunks: UInt32, oldest: UInt32, openInterval: UInt32) throws(ImageError) {
    let size = TrackingFormat.fileSize(chunks: chunks)
    guard try file.size() >= size else {
      throw TrackingError.damaged(file.path, "the file is shorter than it was; it was cut")
    }
    var end: UInt32 = 0
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: TrackingFormat.pageSize, alignment: 4096)
    defer { page.deallocate() }
    var position = TrackingFormat.chunksOffset
    while position < size {
      try file.read(into: page, at: position)
      for number in 0..<Int(TrackingFormat.entriesPerChunk) {
        let slot = end
        end += 1
        let entry = UnsafeRawBufferPointer(page).littleEndian(UInt64.self, at: number * 8)
        guard entry != 0 else {
          free.add(slot..<end)
          continue
        }
        guard let (index, interval) = BlockDirectory.decode(entry), interval <= openInterval else {
          throw .damaged(file.path, at: position + UInt64(number * 8), "the directory of changes is damaged")
        }
        if interval < oldest {
          free.add(slot..<end)
        } else if interval == openInterval {
          guard open.updateValue(slot, forKey: index) == nil else {
            throw .damaged(file.path, at: position + UInt64(number * 8), "a block of changes is listed twice")
          }
        } else {
          ended.append(Block(index: index, interval: interval, slot: slot))
        }
      }
      position += TrackingFormat.chunkSize
    }
    ended.sort { $0.key < $1.key }
    free.sort()
  }

  /// A slot for a new block; nil when the file needs another chunk first.
  mutating func takeSlot() -> UInt32? { free.take() }

  /// The file has another chunk: number `chunk`, counted from 0.
  mutating func addChunk(_ chunk: UInt32) {
    let first = chunk * UInt32(TrackingFormat.entriesPerChunk)
    free.addLast(first..<(first + UInt32(TrackingFormat.entriesPerChunk)))
  }

  var freeCount: Int { free.count }

  mutating func addOpen(index: UInt32, slot: UInt32) { open[index] = slot }
  mutating func giveBack(_ slots: [UInt32]) { for slot in slots { free.add(slot..<(slot + 1)) } }

  /// The open interval's blocks are of no more use; answers their slots, which are not free before `giveBack`.
  mutating func removeOpen() -> [UInt32] {
    defer { open = [:] }
    return Array(open.values)
  }

  /// The open interval ends.
  mutating func endInterval(_ interval: UInt32) {
    let ending = open.map { Block(index: $0.key, interval: interval, slot: $0.value) }
      .sorted { $0.key < $1.key }
    open = [:]
    add(ending)
  }

  /// Adds blocks of ended intervals, ordered by `key`.
  mutating func add(_ blocks: [Block]) {
    var merged: [Block] = []
    merged.reserveCapacity(ended.count + blocks.count)
    var next = 0
    for block in ended {
      while next < blocks.count, blocks[next].key < block.key {
        merged.append(blocks[next])
        next += 1
      }
      merged.append(block)
    }
    merged += blocks[next...]
    ended = merged
  }

  /// Takes blocks out; their slots are not free before `giveBack`.
  mutating func remove(where isRemoved: (Block) -> Bool) -> [Block] {
    let removed = ended.filter(isRemoved)
    ended.removeAll(where: isRemoved)
    return removed
  }

  /// The ended blocks of `index` from interval `oldest` on.
  func blocks(of index: UInt32, since oldest: UInt32) -> ArraySlice<Block> {
    let first = position(of: UInt64(index) << 32 | UInt64(oldest))
    var last = first
    while last < ended.count, ended[last].index == index { last += 1 }
    return ended[first..<last]
  }

  /// The lowest index from `index` on that has an ended block of interval `oldest` or later.
  func nextIndex(from index: UInt32, since oldest: UInt32) -> UInt32? {
    var place = position(of: UInt64(index) << 32)
    while place < ended.count {
      if ended[place].interval >= oldest { return ended[place].index }
      // Past the older intervals of this index in one step.
      let key = UInt64(ended[place].index) << 32 | UInt64(oldest)
      place = max(place + 1, position(of: key))
    }
    return nil
  }

  /// How many indices have a block in the ended intervals `span`, or, with `andOpen`, in the open one that follows it.
  func count(in span: Range<UInt32>, andOpen: Bool = false) -> UInt32 {
    var count: UInt32 = 0
    var last: UInt32?
    for block in ended where span.contains(block.interval) && block.index != last {
      last = block.index
      if !(andOpen && open[block.index] != nil) { count += 1 }
    }
    return count + (andOpen ? UInt32(open.count) : 0)
  }

  private func position(of key: UInt64) -> Int {
    var low = 0
    var high = ended.count
    while low < high {
      let middle = (low + high) / 2
      if ended[middle].key < key { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
