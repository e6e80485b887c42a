/// Takes numbers and bytes from an input, one after the other, as long as there are any.
struct ByteCursor {
  private var rest: Slice<UnsafeRawBufferPointer>

  init(_ bytes: UnsafeRawBufferPointer) { rest = bytes[...] }

  mutating func byte() -> UInt8? { rest.popFirst() }

  mutating func littleEndian<T: FixedWidthInteger>(_ type: T.Type = T.self) -> T? {
    guard rest.count >= MemoryLayout<T>.size else { return nil }
    defer { rest = rest.dropFirst(MemoryLayout<T>.size) }
    return T(littleEndian: UnsafeRawBufferPointer(rebasing: rest).loadUnaligned(as: T.self))
  }

  /// A LEB128 number; bits that do not fit are lost.
  mutating func variable() -> UInt64? {
    var result: UInt64 = 0
    var shift: UInt64 = 0
    while let byte = rest.popFirst() {
      if shift < 64 { result |= UInt64(byte & 0x7F) << shift }
      if byte & 0x80 == 0 { return result }
      shift += 7
    }
    return nil
  }

  /// The next `count` bytes, or as many as there are.
  mutating func take(_ count: Int) -> UnsafeRawBufferPointer {
    defer { rest = rest.dropFirst(count) }
    return UnsafeRawBufferPointer(rebasing: rest.prefix(count))
  }
}
