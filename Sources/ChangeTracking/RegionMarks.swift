import Storage

/// Which regions of the disk may have fine bits that are not durable: after a power cut they count as changed.
///
/// A slot of the file: 0 signature 4 │ 4 checksum 4 │ 8 sequence 8 │ 16 history 16 │ 32 shift 4; from 4096 on a bit
/// for each region.
struct RegionMarks: Equatable, Sendable {
  static let slotSize = 12288
  static let largestSequence = UInt64.max - (1 << 32)

  var sequence: UInt64 = 0
  let shift: UInt64
  private(set) var words: [UInt64]
  let count: Int

  /// No marks, for the disk of a header.
  init(_ header: TrackingHeader) {
    shift = header.regionShift
    count = Int(TrackingFormat.regionCount(diskSize: header.diskSize, shift: shift))
    words = [UInt64](repeating: 0, count: (count + 63) / 64)
  }

  /// Nil when the slot is not whole, or of another history.
  init?(_ bytes: UnsafeRawBufferPointer, _ header: TrackingHeader) {
    self.init(header)
    guard bytes.littleEndian(UInt32.self, at: 0) == TrackingFormat.regionSignature,
      bytes.littleEndian(UInt32.self, at: 4) == Checksum.of(bytes, zeroingFieldAt: 4),
      GUID(bytes, at: 16) == header.history, UInt64(bytes.littleEndian(UInt32.self, at: 32)) == shift
    else { return nil }
    sequence = bytes.littleEndian(at: 8)
    // It is counted up from.
    guard sequence < RegionMarks.largestSequence else { return nil }
    for index in words.indices { words[index] = bytes.littleEndian(at: 4096 + index * 8) }
  }

  func encode(into bytes: UnsafeMutableRawBufferPointer, history: GUID) {
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    bytes.storeLittleEndian(TrackingFormat.regionSignature, at: 0)
    bytes.storeLittleEndian(sequence, at: 8)
    bytes.store(history, at: 16)
    bytes.storeLittleEndian(UInt32(shift), at: 32)
    for (index, word) in words.enumerated() { bytes.storeLittleEndian(word, at: 4096 + index * 8) }
    bytes.storeLittleEndian(Checksum.of(UnsafeRawBufferPointer(bytes), zeroingFieldAt: 4), at: 4)
  }

  var isEmpty: Bool { words.allSatisfy { $0 == 0 } }

  /// The regions that [offset, offset + length) touches.
  func regions(_ offset: UInt64, _ length: UInt64) -> ClosedRange<Int> {
    Int(offset >> shift)...Int((offset + max(length, 1) - 1) >> shift)
  }

  func contains(_ region: Int) -> Bool { words[region / 64] >> UInt64(region % 64) & 1 == 1 }
  mutating func insert(_ region: Int) { words[region / 64] |= 1 << UInt64(region % 64) }
  mutating func remove(_ region: Int) { words[region / 64] &= ~(1 << UInt64(region % 64)) }
  mutating func removeAll() { for index in words.indices { words[index] = 0 } }
  mutating func insertAll() { for region in 0..<count { insert(region) } }

  /// Whoever writes from front to end should not wait for a flush at every region: behind each of `wanted`, as many
  /// regions are marked as are in a row before it, up to a GiB. A mark too many is never wrong.
  mutating func insertAhead(of wanted: RegionMarks) {
    let most = max(1, (1 << 30) >> Int(shift))
    for region in wanted.members {
      var row = 0
      while row < most, region > row, contains(region - row - 1) { row += 1 }
      for ahead in 0..<row where region + 1 + ahead < count { insert(region + 1 + ahead) }
    }
  }

  /// The regions that are in it, ascending.
  private var members: [Int] {
    var found: [Int] = []
    for (index, word) in words.enumerated() {
      var rest = word
      while rest != 0 {
        found.append(index * 64 + rest.trailingZeroBitCount)
        rest &= rest - 1
      }
    }
    return found
  }

  mutating func formUnion(_ other: RegionMarks) {
    for index in words.indices { words[index] |= other.words[index] }
  }
  mutating func subtract(_ other: RegionMarks) {
    for index in words.indices { words[index] &= ~other.words[index] }
  }
  func isSuperset(of other: RegionMarks) -> Bool {
    words.indices.allSatisfy { other.words[$0] & ~words[$0] == 0 }
  }
}
