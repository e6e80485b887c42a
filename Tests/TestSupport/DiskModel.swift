import Glibc
import LinuxSystem

/// What a disk should hold, byte for byte.
public struct DiskModel {
  public private(set) var bytes: [UInt8]

  public init(size: Int) { bytes = [UInt8](repeating: 0, count: size) }
  public init(bytes: [UInt8]) { self.bytes = bytes }

  public var size: Int { bytes.count }

  public mutating func write(_ data: [UInt8], at offset: Int) {
    bytes.withUnsafeMutableBytes { target in
      data.withUnsafeBytes { source in
        UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + data.count]).copyMemory(from: source)
      }
    }
  }

  public mutating func zero(at offset: Int, length: Int) {
    bytes.withUnsafeMutableBytes { target in
      if let base = target.baseAddress { memset(base + offset, 0, length) }
    }
  }

  /// Where the bytes of a file first differ, or nil: the whole file, which must be as long.
  public func firstDifference(inFile path: String) throws -> Int? {
    let file = try OpenFile(path)
    guard file.size == UInt64(size) else { return min(Int(file.size), size) }
    let step = 1 << 20
    for offset in stride(from: 0, to: size, by: step) {
      let data = try file.read(at: UInt64(offset), count: min(step, size - offset))
      guard data.count == min(step, size - offset) else { return offset + data.count }
      if let place = firstDifference(data, at: offset) { return place }
    }
    return nil
  }

  /// Where some bytes first differ from those of the model at `offset`, or nil.
  public func firstDifference(_ data: [UInt8], at offset: Int) -> Int? {
    bytes.withUnsafeBytes { mine in
      data.withUnsafeBytes { other in
        guard let left = mine.baseAddress, let right = other.baseAddress, other.count > 0 else { return nil }
        if memcmp(left + offset, right, other.count) == 0 { return nil }
        return (0..<other.count).first { mine[offset + $0] != other[$0] }.map { offset + $0 }
      }
    }
  }
}

/// Seeded changes of a raw file, done to a model as well.
public struct SeededWorkload {
  public var generator: SeededGenerator
  /// All offsets and lengths are multiples of this.
  public var alignment = 1
  /// Whether ranges are also punched and zeroed, or zeros written.
  public var discards = true

  public init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

  /// Does `count` changes to both, and now and then reads and compares; returns where they first differed.
  public mutating func run(_ count: Int, on file: OpenFile, _ model: inout DiskModel) throws -> Int? {
    for _ in 0..<count {
      let lengths = [
        512, 4096, 65536, Int.random(in: 1...8192, using: &generator),
        Int.random(in: 1...300_000, using: &generator),
        Int.random(in: 1...2_500_000, using: &generator),
      ]
      let (offset, size) = place(length: lengths.randomElement(using: &generator) ?? 512, in: model.size)
      switch Int.random(in: 0..<20, using: &generator) {
      case 0 where discards:
        guard linux_punch_hole(file.descriptor, off_t(offset), off_t(size)) == 0 else {
          throw TestFailure.system("punch of \(size) at \(offset)")
        }
        model.zero(at: offset, length: size)
      case 1 where discards:
        guard linux_zero_range(file.descriptor, off_t(offset), off_t(size)) == 0 else {
          throw TestFailure.system("zero range of \(size) at \(offset)")
        }
        model.zero(at: offset, length: size)
      case 2: try file.sync()
      case 3, 4, 5:
        let data = try file.read(at: UInt64(offset), count: size)
        if data.count != size { return offset + data.count }
        if let place = model.firstDifference(data, at: offset) { return place }
      case 6 where discards:
        let zeros = [UInt8](repeating: 0, count: size)
        try file.write(zeros, at: UInt64(offset))
        model.write(zeros, at: offset)
      default:
        let data = pattern(seed: generator.next(), at: UInt64(offset), count: size)
        try file.write(data, at: UInt64(offset))
        model.write(data, at: offset)
      }
    }
    return nil
  }

  private mutating func place(length: Int, in size: Int) -> (Int, Int) {
    let length = min((length + alignment - 1) / alignment * alignment, size)
    let offset = Int.random(in: 0...size - length, using: &generator) / alignment * alignment
    return (offset, length)
  }
}
