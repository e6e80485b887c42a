/// A bounded cache of equally long pages of a file's tables (block table, sector bitmaps), with the set of pages
/// that were changed and are not in the file yet.
///
/// Invariants:
/// - A page is named by the file offset at which it begins (its key). Keys need not be multiples of the page size,
///   but two pages never overlap.
/// - A page that is dirty, or whose changes are being written (`held`), is never evicted: the cache is the only
///   place that knows its contents.
/// - Pointers that the cache hands out are valid until the next `insert`.
/// - Not safe for concurrent use: it lives inside its owner's lock. No call here does I/O.
public struct PageCache: ~Copyable {
  public let pageSize: Int
  /// How many pages are kept at most.
  public let capacity: Int
  /// How many pages are dirty now.
  public private(set) var dirtyCount = 0
  /// How many pages are in the cache now.
  public private(set) var count = 0

  private struct Flags: OptionSet {
    let rawValue: UInt8
    static let recent = Flags(rawValue: 1)
    static let dirty = Flags(rawValue: 2)
    static let held = Flags(rawValue: 4)
  }

  private let pages: UnsafeMutableRawPointer
  private let keys: UnsafeMutablePointer<UInt64>
  private let flags: UnsafeMutablePointer<Flags>
  /// Open addressing: slot number, or -1. Twice the capacity, a power of two.
  private let buckets: UnsafeMutablePointer<Int32>
  private let bucketMask: Int
  private var hand = 0

  public init(pageSize: Int, capacity: Int) {
    precondition(pageSize > 0 && capacity > 0)
    self.pageSize = pageSize
    self.capacity = capacity
    // Large allocations come from the system untouched: memory is used only for pages that are.
    self.pages = .allocate(byteCount: pageSize * capacity, alignment: 4096)
    self.keys = .allocate(capacity: capacity)
    self.flags = .allocate(capacity: capacity)
    var bucketCount = 4
    while bucketCount < capacity * 2 { bucketCount *= 2 }
    self.bucketMask = bucketCount - 1
    self.buckets = .allocate(capacity: bucketCount)
    buckets.initialize(repeating: -1, count: bucketCount)
  }

  deinit {
    pages.deallocate()
    keys.deallocate()
    flags.deallocate()
    buckets.deallocate()
  }

  /// The page that begins at `key`, or nil when it is not in the cache.
  public func find(_ key: UInt64) -> UnsafeMutableRawPointer? {
    guard let slot = slot(of: key) else { return nil }
    flags[slot].insert(.recent)
    return pages + slot * pageSize
  }

  /// Makes room for the page at `key`, which must not be in the cache; the caller fills all of it.
  ///
  /// Nil when every page is dirty or held: the owner must write changes out first.
  public mutating func insert(_ key: UInt64) -> UnsafeMutableRawPointer? {
    guard let slot = freeSlot() else { return nil }
    keys[slot] = key
    flags[slot] = .recent
    var bucket = home(key)
    while buckets[bucket] >= 0 { bucket = (bucket + 1) & bucketMask }
    buckets[bucket] = Int32(slot)
    return pages + slot * pageSize
  }

  /// Notes that the page at `key`, which must be in the cache, was changed.
  public mutating func markDirty(_ key: UInt64) {
    guard let slot = slot(of: key) else { preconditionFailure("only a cached page can be marked dirty") }
    if flags[slot].insert(.dirty).inserted { dirtyCount += 1 }
  }

  /// True when the page at `key` has changes that no `hold` has taken.
  public func isDirty(_ key: UInt64) -> Bool {
    slot(of: key).map { flags[$0].contains(.dirty) } ?? false
  }

  /// The keys of all dirty pages, ascending. Allocates; for committing only.
  public func dirtyKeys() -> [UInt64] {
    var result: [UInt64] = []
    result.reserveCapacity(dirtyCount)
    for slot in 0..<count where flags[slot].contains(.dirty) { result.append(keys[slot]) }
    return result.sorted()
  }

  /// Takes the changes of a dirty page over into the writing: it is no longer dirty, but stays until `release`.
  public mutating func hold(_ key: UInt64) {
    guard let slot = slot(of: key) else { return }
    if flags[slot].remove(.dirty) != nil { dirtyCount -= 1 }
    flags[slot].insert(.held)
  }

  /// The held page is in the file. With `changesLost` it is not: it becomes dirty again.
  public mutating func release(_ key: UInt64, changesLost: Bool = false) {
    guard let slot = slot(of: key) else { return }
    flags[slot].remove(.held)
    if changesLost, flags[slot].insert(.dirty).inserted { dirtyCount += 1 }
  }

  /// Forgets every page, changed or not.
  public mutating func removeAll() {
    count = 0
    dirtyCount = 0
    hand = 0
    buckets.update(repeating: -1, count: bucketMask + 1)
  }

  // MARK: - Table

  private func home(_ key: UInt64) -> Int {
    // Fibonacci hashing: keys are multiples of a page size, so their low bits say nothing.
    Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 32) & bucketMask
  }

  private func slot(of key: UInt64) -> Int? {
    var bucket = home(key)
    while buckets[bucket] >= 0 {
      let slot = Int(buckets[bucket])
      if keys[slot] == key { return slot }
      bucket = (bucket + 1) & bucketMask
    }
    return nil
  }

  /// A slot that is out of the table: a new one, or one whose page was evicted (second chance).
  private mutating func freeSlot() -> Int? {
    if count < capacity {
      count += 1
      return count - 1
    }
    for _ in 0..<(2 * capacity) {
      let slot = hand
      hand = (hand + 1) % capacity
      if !flags[slot].isDisjoint(with: [.dirty, .held]) { continue }
      if flags[slot].remove(.recent) != nil { continue }
      removeFromTable(keys[slot])
      return slot
    }
    return nil
  }

  /// Deletes by moving later members of the probe sequence back, so that no tombstones gather.
  private func removeFromTable(_ key: UInt64) {
    var hole = home(key)
    while keys[Int(buckets[hole])] != key { hole = (hole + 1) & bucketMask }
    var next = (hole + 1) & bucketMask
    while buckets[next] >= 0 {
      let wanted = home(keys[Int(buckets[next])])
      // A member may move into the hole if its home is not cyclically within (hole, next].
      if (next - wanted) & bucketMask >= (next - hole) & bucketMask {
        buckets[hole] = buckets[next]
        hole = next
      }
      next = (next + 1) & bucketMask
    }
    buckets[hole] = -1
  }
}
