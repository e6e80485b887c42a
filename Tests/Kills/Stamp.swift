import Glibc

/// The contents of one 512-byte sector that say which image, which place and which write they are of; every byte depends
/// on all three, so that none can be another's.
struct Stamp {
  static let sector = 512
  private static let words = sector / 8
  private static let magic: UInt64 = 0x6b69_6c6c_2072_6f75

  /// Of the image; parents and other images have others.
  let seed: UInt64

  func fill(_ target: UnsafeMutableRawBufferPointer, sector: Int, generation: UInt64) {
    for index in 0..<Stamp.words {
      target.storeBytes(of: word(index, sector, generation), toByteOffset: index * 8, as: UInt64.self)
    }
  }

  /// The generation of the write that `bytes` are of, when they are whole and of this place; 0 for zeros.
  func generation(of bytes: UnsafeRawBufferPointer, sector: Int) -> UInt64? {
    let generation = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
    if generation == 0 { return bytes.allSatisfy { $0 == 0 } ? 0 : nil }
    for index in 0..<Stamp.words
    where bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) != word(index, sector, generation) {
      return nil
    }
    return generation
  }

  /// What the bytes look like, for a message.
  func description(of bytes: UnsafeRawBufferPointer) -> String {
    let words = (0..<3).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
    if bytes.allSatisfy({ $0 == 0 }) { return "zeros" }
    if words[0] == Stamp.magic ^ seed { return "a record of sector \(words[1]), generation \(words[2])" }
    return "bytes that were never written: \(words.map { String($0, radix: 16) })"
  }

  private func word(_ index: Int, _ sector: Int, _ generation: UInt64) -> UInt64 {
    switch index {
    case 0: return Stamp.magic ^ seed
    case 1: return UInt64(sector)
    case 2: return generation
    default:
      var word = (seed ^ generation << 24 ^ UInt64(sector)) &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15
      word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
      return word ^ (word >> 31)
    }
  }
}
