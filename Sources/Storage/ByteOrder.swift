import Glibc

/// Reading and writing whole numbers in raw bytes, unaligned, in the byte order that the format names.
extension UnsafeRawBufferPointer {
  /// A little-endian number at `offset`, which the caller knows to be inside.
  @inlinable
  public func littleEndian<T: FixedWidthInteger>(_ type: T.Type = T.self, at offset: Int) -> T {
    T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }

  /// A big-endian number at `offset`, which the caller knows to be inside.
  @inlinable
  public func bigEndian<T: FixedWidthInteger>(_ type: T.Type = T.self, at offset: Int) -> T {
    T(bigEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Stores `value` little-endian at `offset`, which the caller knows to be inside.
  @inlinable
  public func storeLittleEndian<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }

  /// Stores `value` big-endian at `offset`, which the caller knows to be inside.
  @inlinable
  public func storeBigEndian<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
  }
}

extension UnsafeRawBufferPointer {
  /// True when every byte is zero.
  public var isAllZero: Bool {
    guard count > 0 else { return true }
    // Comparing the buffer with itself moved by one byte lets the C library use its widest instructions.
    return self[0] == 0 && memcmp(baseAddress!, baseAddress! + 1, count - 1) == 0
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Makes every byte zero; quick in a build without optimisation too.
  public func clear() {
    if let baseAddress { memset(baseAddress, 0, count) }
  }
}
