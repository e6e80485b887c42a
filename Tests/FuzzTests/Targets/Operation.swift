/// Something that is done with an image once it is open: eight bytes of an input.
package struct Operation: Sendable, Equatable {
  /// More are passed over.
  static let most = 48

  enum Kind: UInt8, CaseIterable {
    case write, writeZeros, zero, flush, finish, reopen, read, zeroBlocks
  }

  var kind: UInt8
  /// Of a pattern that is written.
  var seed: UInt8
  var length: UInt16
  /// Where: see `range`.
  var place: UInt32

  var action: Kind { Kind(rawValue: kind % UInt8(Kind.allCases.count)) ?? .read }

  init(_ kind: Kind, seed: UInt8 = 1, length: UInt16 = 4096, place: UInt32 = 0) {
    self.kind = kind.rawValue
    self.seed = seed
    self.length = length
    self.place = place
  }

  init?(_ input: inout ByteCursor) {
    guard let kind: UInt8 = input.byte(), let seed = input.byte(),
      let length: UInt16 = input.littleEndian(), let place: UInt32 = input.littleEndian()
    else { return nil }
    self.kind = kind
    self.seed = seed
    self.length = length
    self.place = place
  }

  func encode(into bytes: inout [UInt8]) {
    bytes += [kind, seed]
    withUnsafeBytes(of: length.littleEndian) { bytes += $0 }
    withUnsafeBytes(of: place.littleEndian) { bytes += $0 }
  }

  /// The range that is meant on a disk of `size` bytes (not 0) in blocks of `blockSize`: counted from the beginning, from
  /// the end, around the bounds of blocks, or anywhere. Never empty.
  func range(size: UInt64, blockSize: UInt64) -> Range<UInt64> {
    let number = UInt64(place >> 2)
    let wanted: UInt64
    switch place & 3 {
    case 0: wanted = number &* 512 &+ UInt64(seed >> 4)
    case 1: wanted = size &- 1 &- number % size
    case 2: wanted = (number & 0xFFF) &* blockSize &+ (number >> 12 & 0x3FFFF) &- 4096
    default: wanted = (size >> 30) &* number &+ UInt64(seed)
    }
    let start = wanted % size
    var count = UInt64(length) + 1
    if action == .zeroBlocks { count = min(count * 64, 4 << 20) }
    return start..<(start + min(count, size - start))
  }
}
