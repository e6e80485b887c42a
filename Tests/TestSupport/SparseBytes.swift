/// The bytes of a file in memory, of which only pages that were written take room. A value: copies are snapshots.
public struct SparseBytes: Sendable {
  public static let pageSize: UInt64 = 4096
  public private(set) var size: UInt64 = 0
  private var pages: [UInt64: [UInt8]] = [:]

  public init() {}

  /// Bytes that are held: those of pages that were written and not zeroed as a whole since.
  public var held: UInt64 { UInt64(pages.count) * SparseBytes.pageSize }

  /// Copies what is there into `buffer`; returns how much lies before the end.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int {
    guard offset < size else { return 0 }
    let count = Int(min(UInt64(buffer.count), size - offset))
    var done = 0
    while done < count {
      let place = offset + UInt64(done)
      let within = Int(place % SparseBytes.pageSize)
      let step = min(count - done, Int(SparseBytes.pageSize) - within)
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<(done + step)])
      if let page = pages[place / SparseBytes.pageSize] {
        page.withUnsafeBytes {
          target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[within..<(within + step)]))
        }
      } else {
        target.initializeMemory(as: UInt8.self, repeating: 0)
      }
      done += step
    }
    return count
  }

  public mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    var done = 0
    while done < bytes.count {
      let place = offset + UInt64(done)
      let within = Int(place % SparseBytes.pageSize)
      let step = min(bytes.count - done, Int(SparseBytes.pageSize) - within)
      let source = UnsafeRawBufferPointer(rebasing: bytes[done..<(done + step)])
      pages[place / SparseBytes.pageSize, default: [UInt8](repeating: 0, count: Int(SparseBytes.pageSize))]
        .withUnsafeMutableBytes {
          UnsafeMutableRawBufferPointer(rebasing: $0[within..<(within + step)]).copyMemory(from: source)
        }
      done += step
    }
    size = max(size, offset + UInt64(bytes.count))
  }

  public mutating func resize(to newSize: UInt64) {
    if newSize < size { zero(at: newSize, length: size - newSize) }
    size = newSize
  }

  /// Makes the range read as zero; the size stays.
  public mutating func zero(at offset: UInt64, length: UInt64) {
    let end = min(offset + length, size)
    var place = offset
    while place < end {
      let number = place / SparseBytes.pageSize
      let pageEnd = (number + 1) * SparseBytes.pageSize
      if place % SparseBytes.pageSize == 0, end >= pageEnd {
        pages[number] = nil
      } else if pages[number] != nil {
        let from = Int(place % SparseBytes.pageSize)
        let to = Int(min(end, pageEnd) - number * SparseBytes.pageSize)
        for index in from..<to { pages[number]?[index] = 0 }
      }
      place = pageEnd
    }
  }

  /// Whether the range holds a page at all.
  public func nextPage(from offset: UInt64, end: UInt64) -> UInt64? {
    var place = offset
    while place < end {
      if pages[place / SparseBytes.pageSize] != nil { return place }
      place = (place / SparseBytes.pageSize + 1) * SparseBytes.pageSize
    }
    return nil
  }

  /// The start of the next page that is not held, at or after `offset`; `end` when there is none before it.
  public func nextHole(from offset: UInt64, end: UInt64) -> UInt64 {
    var place = offset
    while place < end {
      if pages[place / SparseBytes.pageSize] == nil { return place }
      place = (place / SparseBytes.pageSize + 1) * SparseBytes.pageSize
    }
    return end
  }
}
