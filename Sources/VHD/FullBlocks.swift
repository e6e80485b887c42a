/// Which blocks are known to have every bit of their bitmap set, so that the bitmap need not be looked at.
///
/// One bit a block, made when the first is marked; left out for tables so large that it would take over a
/// mebibyte.
struct FullBlocks: ~Copyable {
  private let blockCount: UInt64
  private var words: UnsafeMutablePointer<UInt64>?

  static let mostBlocks: UInt64 = 1 << 23

  init(blockCount: UInt64) {
    self.blockCount = blockCount
  }

  deinit { words?.deallocate() }

  func contains(_ block: UInt64) -> Bool {
    guard let words else { return false }
    return words[Int(block >> 6)] & (1 << (block & 63)) != 0
  }

  mutating func insert(_ block: UInt64) {
    guard blockCount <= FullBlocks.mostBlocks else { return }
    if words == nil {
      let count = Int((blockCount + 63) >> 6)
      words = .allocate(capacity: count)
      words?.initialize(repeating: 0, count: count)
    }
    words?[Int(block >> 6)] |= 1 << (block & 63)
  }

  mutating func remove(_ block: UInt64) {
    words?[Int(block >> 6)] &= ~(1 << (block & 63))
  }
}
