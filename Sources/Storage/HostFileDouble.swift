/// What stands in for the system behind a `HostFile` in tests: records, loses, tears or fails what is asked of it.
///
/// Every call may come from any thread. Errors are thrown as the system would report them.
public protocol HostFileDouble: AnyObject, Sendable {
  /// Reads up to the buffer's length at `offset`; returns the bytes read, fewer only at the end of the file.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int
  /// Writes all of `bytes` at `offset`, growing the file where needed.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError)
  /// Makes all earlier writes, resizes and holes durable.
  func flush() throws(ImageError)
  /// The size in bytes.
  func size() throws(ImageError) -> UInt64
  /// Grows with zeros, or cuts.
  func resize(to size: UInt64) throws(ImageError)
  /// Makes the range read as zero; gives its room back where the host can. The size stays.
  func punch(at offset: UInt64, length: UInt64) throws(ImageError)
  /// Where the next byte that is held lies, at or after `offset` and before `end`; nil when there is none.
  func nextData(from offset: UInt64, end: UInt64) -> UInt64?
  /// Where the next hole begins, at or after `offset`; `end` when there is none before it.
  func nextHole(from offset: UInt64, end: UInt64) -> UInt64
  /// Sets room aside for the range, growing the file where needed.
  func reserve(at offset: UInt64, length: UInt64) throws(ImageError)
  /// The time of the last change, nanoseconds since 1970.
  var modified: Int64 { get }
}

extension HostFileDouble {
  /// A double that cannot tell holds everything.
  public func nextData(from offset: UInt64, end: UInt64) -> UInt64? { offset < end ? offset : nil }
  public func nextHole(from offset: UInt64, end: UInt64) -> UInt64 { end }
  /// A double that keeps no time was always changed at once.
  public var modified: Int64 { 0 }
  public func reserve(at offset: UInt64, length: UInt64) throws(ImageError) {
    if try size() < offset + length { try resize(to: offset + length) }
  }
}
