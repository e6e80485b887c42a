import Storage
import Synchronization

/// Goes through what changed since a point, in ascending order, in bounded memory.
///
/// The answer is what changed up to now, or a little more: changes that are noted while it is read may be in it.
/// Not safe for concurrent use.
public final class ChangeCursor {
  private let tracker: ChangeTracker
  public let point: ReferencePoint
  private let oldest: UInt32
  /// Regions that count as changed as a whole.
  private var coarse: RegionMarks
  /// The union of all blocks of `index`; nil: none is loaded.
  private let union = BitmapBlock()
  private let scratch = BitmapBlock()
  private var index: UInt32?
  private var isEmpty = true
  private let units: UInt64
  /// The open interval's blocks when the question was asked, ascending.
  private let openIndices: [UInt32]

  /// Errors: unknown point; a damaged block; the record was given up.
  public init(_ tracker: ChangeTracker, since limit: String) throws(ImageError) {
    self.tracker = tracker
    point = try tracker.point(limit)
    oldest = point.firstInterval
    let (header, presumed, open) = tracker.state.withLock {
      ($0.header, $0.presumed, $0.directory.open.keys.sorted())
    }
    let size = header.diskSize
    openIndices = open
    units = (size + TrackingFormat.granularity - 1) >> TrackingFormat.granularityShift
    coarse = RegionMarks(header)
    if let presumed { coarse.formUnion(presumed) }
    let count = UInt32((UInt64(coarse.count) + TrackingFormat.bitsPerBlock - 1) / TrackingFormat.bitsPerBlock)
    for number in 0..<count {
      try load(TrackingFormat.firstCoarseIndex + number)
      var bit: UInt64 = 0
      let base = UInt64(number) * TrackingFormat.bitsPerBlock
      while !isEmpty {
        bit = BitmapBlock.next(UnsafeRawBufferPointer(union.bytes), from: bit, value: true)
        guard bit < TrackingFormat.bitsPerBlock, base + bit < UInt64(coarse.count) else { break }
        coarse.insert(Int(base + bit))
        bit += 1
      }
    }
  }

  /// The next changed range at or after `offset` and before `end` (bytes of the disk), not clipped at its end but to
  /// `end`; nil when there is none.
  public func next(from offset: UInt64, end: UInt64) throws(ImageError) -> Range<UInt64>? {
    let last = min(units, (end + TrackingFormat.granularity - 1) >> TrackingFormat.granularityShift)
    var unit = offset >> TrackingFormat.granularityShift
    guard let first = try find(from: &unit, before: last, changed: true) else { return nil }
    unit = first
    let after = try find(from: &unit, before: last, changed: false) ?? last
    let low = max(offset, first << TrackingFormat.granularityShift)
    let high = min(end, after << TrackingFormat.granularityShift)
    return low < high ? low..<high : nil
  }

  /// The first unit from `unit` on that changed, or that did not.
  private func find(
    from unit: inout UInt64, before last: UInt64, changed: Bool
  ) throws(ImageError) -> UInt64? {
    let unitsPerRegion = UInt64(1) << (coarse.shift - TrackingFormat.granularityShift)
    while unit < last {
      let region = unit / unitsPerRegion
      let regionEnd = (region + 1) * unitsPerRegion
      if coarse.contains(Int(region)) {
        if changed { return unit }
        unit = min(regionEnd, last)
        continue
      }
      let wanted = UInt32(unit / TrackingFormat.bitsPerBlock)
      if index != wanted { try load(wanted) }
      let start = UInt64(wanted) * TrackingFormat.bitsPerBlock
      if isEmpty {
        if !changed { return unit }
        // Nothing in this block: on to the next that holds something, or to the end of this region's word on it.
        let next = nextIndex(from: wanted + 1).map { UInt64($0) * TrackingFormat.bitsPerBlock } ?? last
        unit =
          nextCoarse(from: region, before: max(next, start)).map { min(next, $0 * unitsPerRegion) } ?? next
        continue
      }
      let found =
        start + BitmapBlock.next(UnsafeRawBufferPointer(union.bytes), from: unit - start, value: changed)
      let limit = min(start + TrackingFormat.bitsPerBlock, regionEnd)
      if found < limit { return found < last ? found : nil }
      unit = limit
    }
    return nil
  }

  /// The first region after `region` that counts as changed, as long as it begins before `unit`.
  private func nextCoarse(from region: UInt64, before unit: UInt64) -> UInt64? {
    let end = min(UInt64(coarse.count), (unit >> (coarse.shift - TrackingFormat.granularityShift)) + 1)
    var region = region + 1
    while region < end {
      if coarse.contains(Int(region)) { return region }
      region += 1
    }
    return nil
  }

  private func nextIndex(from index: UInt32) -> UInt32? {
    let ended = tracker.state.withLock { $0.directory.nextIndex(from: index, since: oldest) }
    var low = 0
    var high = openIndices.count
    while low < high {
      let middle = (low + high) / 2
      if openIndices[middle] < index { low = middle + 1 } else { high = middle }
    }
    let open = low < openIndices.count ? openIndices[low] : nil
    let found = [ended, open].compactMap { $0 }.min()
    return found.flatMap { $0 < TrackingFormat.firstCoarseIndex ? $0 : nil }
  }

  /// Loads the union of what all intervals from `oldest` on say of block `index`.
  private func load(_ wanted: UInt32) throws(ImageError) {
    index = nil
    let (tracker, oldest, id) = (tracker, oldest, point.id)
    let target = union.bytes
    let block = scratch.bytes
    target.initializeMemory(as: UInt8.self, repeating: 0)
    isEmpty = try tracker.state.withLock { (state) throws(ImageError) -> Bool in
      if let failure = state.failure { throw failure }
      guard state.points.contains(where: { $0.id == id }) else {
        throw TrackingError.unknownPoint(tracker.file.path, id)
      }
      var sources = state.directory.blocks(of: wanted, since: oldest).map { ($0.interval, $0.slot) }
      if let slot = state.directory.open[wanted], !state.damagedBlocks.contains(wanted) {
        sources.append((state.header.interval, slot))
      }
      // Under the lock, because a block of the open interval may be written at any time.
      for (interval, slot) in sources {
        let offset = TrackingFormat.blockOffset(slot)
        guard try tracker.file.readUpTo(block, at: offset) == block.count,
          BitmapBlock.isWhole(
            UnsafeRawBufferPointer(block), history: state.header.history, interval: interval, index: wanted)
        else { throw TrackingError.damaged(tracker.file.path, at: offset, "a block of changes is damaged") }
        BitmapBlock.formUnion(target, UnsafeRawBufferPointer(block))
      }
      return sources.isEmpty
    }
    index = wanted
  }
}
