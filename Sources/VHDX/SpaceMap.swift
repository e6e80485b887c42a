import Storage

/// Where a file has room for new blocks.
///
/// Invariants:
/// - Room at or behind `end` was never used in this session and reads as zero: the file grew there.
/// - Holes are handed out only after `adopt` (the whole block table was looked through), and only after they were made
///   to read as zero (`ready`).
/// - Room that a block gave up waits in `released` until the change of the table is durable, every operation that may
///   have resolved it has ended, and the whole block table was looked through: only then it is known that no other
///   block lies there too.
struct SpaceMap: ~Copyable {
  /// The first byte behind everything in use, a multiple of 1 MiB.
  private(set) var end: UInt64
  /// `end` when the file was opened: what lies behind it was allocated since, and is known.
  let initialEnd: UInt64
  /// The file's size when it was opened.
  let initialFileSize: UInt64
  /// The file's size as grown by us.
  private(set) var fileSize: UInt64
  /// Holes of one block each that read as zero.
  private var ready: [UInt64] = []
  private var readyLength: UInt64 = 0
  /// One bit per MiB below `adoptedEnd`; 1: free. Nil until the table was looked through.
  private var free: [UInt64]?
  private var freeMayHaveRuns = false
  private var nextFit: UInt64 = 0
  private var released: [Released] = []

  struct Released {
    var range: Range<UInt64>
    var epoch: UInt64
    var change: UInt64
  }

  /// Growing by less than this costs a system call too often; unused room is cut at the clean close.
  static let growth: UInt64 = 128 << 20

  init(fileSize: UInt64) {
    self.fileSize = fileSize
    initialFileSize = fileSize
    end = (fileSize + VHDXFormat.mebibyte - 1) / VHDXFormat.mebibyte * VHDXFormat.mebibyte
    initialEnd = end
  }

  /// Fresh room at the end of the file, which is grown if needed.
  mutating func allocateAtEnd(_ length: UInt64, file: HostFile) throws(ImageError) -> UInt64 {
    let place = end
    let needed = place + length
    if needed > fileSize {
      let wanted = max(needed, fileSize + SpaceMap.growth)
      do {
        try file.resize(to: wanted)
        fileSize = wanted
      } catch {
        // A host that has no room for the reserve may have room for the block.
        try file.resize(to: needed)
        fileSize = needed
      }
    }
    end = needed
    return place
  }

  /// The file is longer than it was found; what was added to it is this program's.
  var hasGrown: Bool { fileSize > initialFileSize }

  /// Undoes the last `allocateAtEnd`, of which nothing was used.
  mutating func giveBackEnd(_ length: UInt64) { end -= length }

  /// Grows a file that ends inside a MiB to the end of it: the rest of that MiB may be handed out as a hole.
  mutating func completeLastMebibyte(_ file: HostFile) throws(ImageError) {
    guard fileSize < end else { return }
    try file.resize(to: end)
    fileSize = end
  }

  /// A hole that reads as zero, if one is ready.
  mutating func takeReady() -> UInt64? { ready.popLast() }

  /// Whether `prepareHoles` may find something.
  var mayPrepareHoles: Bool { ready.isEmpty && freeMayHaveRuns }

  /// Takes up to `count` holes of `length` bytes out of the free room. The caller makes them read as zero and gives
  /// them to `addReady`.
  mutating func takeHoles(_ length: UInt64, count: Int) -> [UInt64] {
    var found: [UInt64] = []
    while found.count < count, let hole = takeHole(length) { found.append(hole) }
    return found
  }

  mutating func addReady(_ holes: [UInt64], length: UInt64) {
    // The lowest is taken first: they are taken from the end.
    ready += holes.reversed()
    readyLength = length
  }

  /// A block gives its room up. It stays untouched until `takeReclaimable` hands it out.
  mutating func release(_ range: Range<UInt64>, epoch: UInt64, change: UInt64) {
    released.append(Released(range: range, epoch: epoch, change: change))
  }

  /// Room whose release is durable (`committed`: the last durable change) and which nobody can still be using. None
  /// before `adopt`.
  mutating func takeReclaimable(epoch: UInt64, committed: UInt64) -> [Range<UInt64>] {
    guard isAdopted, !released.isEmpty else { return [] }
    var result: [Range<UInt64>] = []
    released.removeAll { item in
      guard item.epoch + 2 <= epoch, item.change <= committed else { return false }
      result.append(item.range)
      return true
    }
    return result
  }

  var hasReleased: Bool { !released.isEmpty }

  /// Room is free now. After `adopt` only.
  mutating func addFree(_ range: Range<UInt64>) {
    guard var map = free else { return }
    free = nil
    SpaceMap.set(&map, range, to: true)
    free = map
    freeMayHaveRuns = true
  }

  /// Whether the table was looked through. From then on the map knows of every change, in later sessions too.
  var isAdopted: Bool { free != nil }

  /// Takes over what the look through the table found in use below `initialEnd`. Once only: blocks that were put into
  /// holes since stand in no table on the medium before they are committed.
  mutating func adopt(used: SpaceUse) {
    guard free == nil else { return }
    // The last block of the disk may reach beyond the file.
    end = max(end, used.end)
    let mebibytes = initialEnd / VHDXFormat.mebibyte
    var map = used.bits.map { ~$0 }
    if mebibytes % 64 != 0, let last = map.indices.last { map[last] &= (1 << (mebibytes % 64)) - 1 }
    let words = Int((end / VHDXFormat.mebibyte + 63) / 64)
    if map.count < words { map += [UInt64](repeating: 0, count: words - map.count) }
    // The look may have found the table as it is since a block gave its room up; but that room is not free before it
    // is reclaimed: it would be handed out now, and made zero then, with another block's bytes in it.
    for item in released { SpaceMap.set(&map, item.range, to: false) }
    free = map
    freeMayHaveRuns = map.contains { $0 != 0 }
  }

  /// New room begins at or behind `place`. For a session in which the table was not looked through yet.
  mutating func keepClear(below place: UInt64) { end = max(end, place) }

  /// Takes free room at the end out of the map: what is left ends with something in use. For the clean close. Returns
  /// the size to which the file can be cut; nil when it has that size.
  mutating func cut(notBelow least: UInt64 = 0) -> UInt64? {
    returnReady()
    if var map = free {
      free = nil
      while end > 0, end - VHDXFormat.mebibyte >= least, SpaceMap.isFree(map, end / VHDXFormat.mebibyte - 1) {
        end -= VHDXFormat.mebibyte
        SpaceMap.set(&map, end..<(end + VHDXFormat.mebibyte), to: false)
      }
      free = map
    }
    return end < fileSize ? end : nil
  }

  mutating func didCut(to size: UInt64) { fileSize = size }

  /// What `cut` gave up could not be cut off. It was free room like any other, and need not read as zero.
  mutating func didNotCut(backTo oldEnd: UInt64) {
    let room = end..<oldEnd
    end = oldEnd
    addFree(room)
  }

  // MARK: - Packing

  /// Holes that were made ready for new blocks are ordinary free room again.
  mutating func returnReady() {
    for hole in ready { addFree(hole..<(hole + readyLength)) }
    ready = []
  }

  /// Takes a place that was chosen beforehand, growing the file where it reaches behind it; false when part of it is not
  /// free. After `adopt` only.
  mutating func claim(_ range: Range<UInt64>, file: HostFile) throws(ImageError) -> Bool {
    guard var map = free, range.lowerBound <= end else { return false }
    let known = range.lowerBound..<min(range.upperBound, end)
    var place = known.lowerBound
    while place < known.upperBound {
      guard SpaceMap.isFree(map, place / VHDXFormat.mebibyte) else { return false }
      place += VHDXFormat.mebibyte
    }
    if range.upperBound > end { _ = try allocateAtEnd(range.upperBound - end, file: file) }
    free = nil
    SpaceMap.set(&map, known, to: false)
    free = map
    return true
  }

  // MARK: - Bits

  private mutating func takeHole(_ length: UInt64) -> UInt64? {
    guard freeMayHaveRuns, var map = free else { return nil }
    free = nil
    defer { free = map }
    let needed = length / VHDXFormat.mebibyte
    let total = UInt64(map.count) * 64
    var position = nextFit < total ? nextFit : 0
    var runStart = position
    var run: UInt64 = 0
    var looked: UInt64 = 0
    while looked < total + needed {
      if position >= total {
        position = 0
        run = 0
      }
      let word = map[Int(position / 64)]
      if run == 0, word == 0 {
        let step = 64 - position % 64
        position += step
        looked += step
        continue
      }
      if word >> (position % 64) & 1 == 1 {
        if run == 0 { runStart = position }
        run += 1
        if run == needed {
          let range = (runStart * VHDXFormat.mebibyte)..<((runStart + needed) * VHDXFormat.mebibyte)
          SpaceMap.set(&map, range, to: false)
          nextFit = runStart + needed
          return range.lowerBound
        }
      } else {
        run = 0
      }
      position += 1
      looked += 1
    }
    freeMayHaveRuns = false
    return nil
  }

  private static func isFree(_ map: [UInt64], _ place: UInt64) -> Bool {
    let word = Int(place / 64)
    return word < map.count && map[word] >> (place % 64) & 1 == 1
  }

  private static func set(_ map: inout [UInt64], _ range: Range<UInt64>, to isFree: Bool) {
    for place in (range.lowerBound / VHDXFormat.mebibyte)..<(range.upperBound / VHDXFormat.mebibyte) {
      let word = Int(place / 64)
      if word >= map.count { map += [UInt64](repeating: 0, count: word - map.count + 1) }
      if isFree { map[word] |= 1 << (place % 64) } else { map[word] &= ~(1 << (place % 64)) }
    }
  }
}

/// Which MiB of a file are in use, found by looking through the whole block table.
struct SpaceUse {
  private(set) var bits: [UInt64]
  private let mebibytes: UInt64
  /// Behind all that was added.
  private(set) var end: UInt64 = 0

  init(fileSize: UInt64) {
    mebibytes = (fileSize + VHDXFormat.mebibyte - 1) / VHDXFormat.mebibyte
    bits = [UInt64](repeating: 0, count: Int((mebibytes + 63) / 64))
  }

  /// How many MiB are in use, what lies behind the file's end left out.
  var usedMebibytes: UInt64 { bits.reduce(0) { $0 + UInt64($1.nonzeroBitCount) } }

  /// Takes the lowest `count` MiB in a row, at or behind `start`, that are not in use and end at or below `limit`, all in
  /// MiB; nil when there are none.
  mutating func takeLowestFree(_ count: UInt64, from start: UInt64, below limit: UInt64) -> UInt64? {
    var place = start
    var run: UInt64 = 0
    let last = min(limit, mebibytes)
    while place < last {
      let word = bits[Int(place / 64)]
      if run == 0, ~word >> (place % 64) == 0 {
        place = (place / 64 + 1) * 64
        continue
      }
      run = word >> (place % 64) & 1 == 0 ? run + 1 : 0
      place += 1
      if run == count {
        for taken in (place - count)..<place { bits[Int(taken / 64)] |= 1 << (taken % 64) }
        return place - count
      }
    }
    return nil
  }

  /// Notes a range as used; false when part of it was used already. What lies outside the file is left out.
  mutating func add(_ range: Range<UInt64>) -> Bool {
    var isNew = true
    end = max(end, range.upperBound)
    let last = min((range.upperBound + VHDXFormat.mebibyte - 1) / VHDXFormat.mebibyte, mebibytes)
    var place = range.lowerBound / VHDXFormat.mebibyte
    while place < last {
      let bit: UInt64 = 1 << (place % 64)
      if bits[Int(place / 64)] & bit != 0 { isNew = false }
      bits[Int(place / 64)] |= bit
      place += 1
    }
    return isNew
  }
}
