/// Raw memory of fixed length, zeroed at first and aligned for direct I/O, that frees itself.
struct ByteBuffer: ~Copyable {
  let bytes: UnsafeMutableRawBufferPointer

  init(count: Int) {
    bytes = .allocate(byteCount: count, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  init(copying array: [UInt8]) {
    self.init(count: array.count)
    bytes.copyBytes(from: array)
  }

  deinit { bytes.deallocate() }

  var readable: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }

  func slice(_ range: Range<Int>) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: bytes[range])
  }
}

/// A stretch of the file: bytes from `offset` up to but not including `end`.
struct FileExtent: Hashable, Sendable {
  var offset: UInt64
  var end: UInt64

  init(offset: UInt64, length: UInt64) {
    self.offset = offset
    self.end = offset + length
  }

  func overlaps(_ other: FileExtent) -> Bool { offset < other.end && other.offset < end }
}

extension UInt64 {
  /// The next multiple of `alignment`, a power of two. The caller knows that it does not overflow.
  func roundedUp(to alignment: UInt64) -> UInt64 { (self + (alignment - 1)) & ~(alignment - 1) }
}
