import Glibc
import Storage
import TestSupport
import VHD

/// What a disk must hold: plain bytes.
struct Model {
  var bytes: [UInt8]

  init(size: UInt64) { bytes = [UInt8](repeating: 0, count: Int(size)) }

  mutating func write(_ new: [UInt8], at offset: UInt64) {
    bytes.withUnsafeMutableBytes {
      UnsafeMutableRawBufferPointer(rebasing: $0[Int(offset)...]).copyBytes(from: new)
    }
  }

  mutating func zero(_ offset: UInt64, _ length: UInt64) {
    bytes.withUnsafeMutableBytes { _ = memset($0.baseAddress! + Int(offset), 0, Int(length)) }
  }
}

/// Bytes that a seed fixes; never zero, so that lost ones show.
func pattern(_ count: Int, _ generator: inout SeededGenerator) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: count + 8) { buffer, length in
    let bytes = UnsafeMutableRawBufferPointer(buffer)
    var index = 0
    while index < count {
      bytes.storeBytes(of: generator.next() | 0x0101_0101_0101_0101, toByteOffset: index, as: UInt64.self)
      index += 8
    }
    length = count
  }
}

/// Whether two arrays are equal, quickly in unoptimised code too, and without printing them where not.
func same(_ one: [UInt8], _ other: [UInt8]) -> Bool {
  one.count == other.count && memcmp(one, other, one.count) == 0
}

func isAllZero(_ bytes: ArraySlice<UInt8>) -> Bool {
  bytes.withUnsafeBytes(\.isAllZero)
}

/// Writes, zeroings and commits at random, on a disk and its model alike.
struct Workload {
  var generator: SeededGenerator
  /// Ranges begin and end anywhere, or at whole sectors.
  var isAligned = false
  var largest = 200_000

  init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

  mutating func range(_ size: UInt64, _ blockSize: UInt64) -> (offset: UInt64, length: UInt64) {
    var offset: UInt64
    var length: UInt64
    switch Int.random(in: 0..<8, using: &generator) {
    case 0:  // around the border of two blocks
      let border = UInt64.random(in: 0...(size / blockSize), using: &generator) * blockSize
      offset = border - min(border, UInt64.random(in: 0...3000, using: &generator))
      length = UInt64.random(in: 1...6000, using: &generator)
    case 1:  // whole blocks
      offset = UInt64.random(in: 0...((size - 1) / blockSize), using: &generator) * blockSize
      length = blockSize * UInt64.random(in: 1...2, using: &generator)
    case 2:  // one small piece
      offset = UInt64.random(in: 0..<size, using: &generator)
      length = UInt64.random(in: 1...600, using: &generator)
    case 3:  // the end
      length = UInt64.random(in: 1...5000, using: &generator)
      offset = size - min(size, length)
    default:
      offset = UInt64.random(in: 0..<size, using: &generator)
      length = UInt64.random(in: 1...UInt64(largest), using: &generator)
    }
    offset = min(offset, size - 1)
    if isAligned {
      offset = offset / 512 * 512
      length = (length + 511) / 512 * 512
    }
    return (offset, min(length, size - offset))
  }

  mutating func step(_ disk: SmallDisk, _ model: inout Model) throws {
    let image = disk.images[0]
    let (offset, length) = range(disk.size, image.blockSize ?? 1 << 20)
    switch Int.random(in: 0..<10, using: &generator) {
    case 0, 1:
      try disk.zero(offset, length)
      model.zero(offset, length)
    case 2:
      try image.commit()
    case 3:
      let zeros = [UInt8](repeating: 0, count: Int(min(length, 10000)))
      try disk.write(zeros, at: offset)
      model.write(zeros, at: offset)
    default:
      let bytes = pattern(Int(length), &generator)
      try disk.write(bytes, at: offset)
      model.write(bytes, at: offset)
    }
  }
}
