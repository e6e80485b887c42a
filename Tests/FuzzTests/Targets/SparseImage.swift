/// A host file as a fuzz input describes it: its size, the pages that hold something, and what is to be done with it.
///
/// The encoding is made for small inputs, so that a file of gigabytes with its structures takes a few hundred bytes:
///
///     count of operations (1 byte) │ operations (8 bytes each) │ size (8 bytes, little-endian) │ pieces …
///
/// A piece is the distance from the end of the piece before it, then its length times two, plus one where one byte
/// follows with which all of it is filled, each as a LEB128 number; then the bytes. What no piece names is zero. Any bytes
/// can be decoded: what makes no sense ends the pieces.
package struct SparseImage: Sendable, Equatable {
  static let pageSize = 4096
  /// Pieces of one input together, so that none takes memory without bound.
  private static let mostDecoded = 8 << 20

  package var size: UInt64 = 0
  package var operations: [Operation] = []
  /// By number; a page that holds only zeros need not be there.
  private(set) var pages: [UInt64: [UInt8]] = [:]

  package init() {}

  /// The numbers of the pages that hold something, ascending.
  var pageNumbers: [UInt64] { pages.keys.sorted() }
  /// Bytes of memory that the pages take.
  var heldBytes: Int { pages.count * SparseImage.pageSize }

  // MARK: - Bytes

  /// The bytes from `offset` on, zero where nothing is held, whatever the size.
  func bytes(at offset: UInt64, count: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: count)
    result.withUnsafeMutableBytes { copy(into: $0, from: offset) }
    return result
  }

  func copy(into buffer: UnsafeMutableRawBufferPointer, from offset: UInt64) {
    SparseImage.forEachPart(offset, buffer.count) { number, within, range in
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[range])
      if let page = pages[number] {
        page.withUnsafeBytes {
          target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[within..<(within + range.count)]))
        }
      } else {
        target.initializeMemory(as: UInt8.self, repeating: 0)
      }
    }
  }

  /// Puts bytes at `offset`; the size stays. What no file reaches is left out.
  mutating func put(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    SparseImage.forEachPart(offset, bytes.count) { number, within, range in
      let source = UnsafeRawBufferPointer(rebasing: bytes[range])
      // Zeros over nothing need no page.
      if pages[number] == nil, source.allSatisfy({ $0 == 0 }) { return }
      pages[number, default: [UInt8](repeating: 0, count: SparseImage.pageSize)].withUnsafeMutableBytes {
        UnsafeMutableRawBufferPointer(rebasing: $0[within..<(within + range.count)]).copyMemory(from: source)
      }
    }
  }

  mutating func put(_ bytes: [UInt8], at offset: UInt64) { bytes.withUnsafeBytes { put($0, at: offset) } }

  /// Makes the range zero; takes time only for pages that hold something.
  mutating func zero(at offset: UInt64, length: UInt64) {
    guard length > 0 else { return }
    let (sum, overflow) = offset.addingReportingOverflow(length)
    let end = overflow ? UInt64.max : sum
    let pageSize = UInt64(SparseImage.pageSize)
    let (first, last) = (offset / pageSize, (end - 1) / pageSize)
    let numbers =
      last - first < UInt64(pages.count)
      ? Array(first...last) : pages.keys.filter { (first...last).contains($0) }
    for number in numbers {
      guard pages[number] != nil else { continue }
      let from = max(offset, number * pageSize) - number * pageSize
      let to = min(end - number * pageSize, pageSize)
      if from == 0, to == pageSize {
        pages[number] = nil
      } else {
        for index in Int(from)..<Int(to) { pages[number]?[index] = 0 }
      }
    }
  }

  private static func forEachPart(_ offset: UInt64, _ count: Int, _ body: (UInt64, Int, Range<Int>) -> Void) {
    var done = 0
    while done < count {
      let (place, overflow) = offset.addingReportingOverflow(UInt64(done))
      if overflow || place >= 1 << 63 { return }
      let within = Int(place % UInt64(pageSize))
      let step = min(count - done, pageSize - within)
      body(place / UInt64(pageSize), within, done..<(done + step))
      done += step
    }
  }

  // MARK: - Encoding

  package init(decoding input: UnsafeRawBufferPointer) {
    var input = ByteCursor(input)
    let count = min(Int(input.byte() ?? 0), Operation.most)
    for _ in 0..<count {
      guard let operation = Operation(&input) else { break }
      operations.append(operation)
    }
    // No host has a larger file.
    size = min(input.littleEndian() ?? 0, UInt64(Int64.max))
    var position: UInt64 = 0
    var decoded = 0
    while let gap = input.variable(), let word = input.variable() {
      let (start, overflow) = position.addingReportingOverflow(gap)
      let length = Int(truncatingIfNeeded: min(word >> 1, UInt64(SparseImage.mostDecoded)))
      decoded += length
      guard !overflow, decoded <= SparseImage.mostDecoded else { return }
      if word & 1 == 1 {
        guard let value = input.byte() else { return }
        put([UInt8](repeating: value, count: length), at: start)
      } else {
        put(input.take(length), at: start)
      }
      let (end, beyond) = start.addingReportingOverflow(UInt64(length))
      if beyond { return }
      position = end
    }
  }

  package func encoded() -> [UInt8] {
    var writer = PieceWriter()
    writer.bytes.append(UInt8(min(operations.count, Operation.most)))
    for operation in operations.prefix(Operation.most) { operation.encode(into: &writer.bytes) }
    withUnsafeBytes(of: size.littleEndian) { writer.bytes += $0 }
    for number in pageNumbers {
      guard let page = pages[number] else { continue }
      writer.add(page, at: number * UInt64(SparseImage.pageSize))
    }
    writer.finish()
    return writer.bytes
  }
}

/// Cuts pages into pieces: stretches of one byte, and literal ones, with the zeros between them left out.
private struct PieceWriter {
  var bytes: [UInt8] = []
  private var position: UInt64 = 0
  private var fill: (start: UInt64, length: UInt64, value: UInt8)?

  /// Shorter stretches of one byte are not worth a piece of their own.
  private static let shortestFill = 12

  mutating func add(_ page: [UInt8], at offset: UInt64) {
    var index = 0
    while index < page.count {
      let run = PieceWriter.run(page, from: index)
      if page[index] == 0 {
        index += run
      } else if run >= PieceWriter.shortestFill {
        addFill(offset + UInt64(index), UInt64(run), page[index])
        index += run
      } else {
        var end = index + run
        while end < page.count {
          let next = PieceWriter.run(page, from: end)
          if next >= (page[end] == 0 ? 6 : PieceWriter.shortestFill) { break }
          end += next
        }
        finish()
        begin(offset + UInt64(index), UInt64(end - index) << 1)
        bytes += page[index..<end]
        position = offset + UInt64(end)
        index = end
      }
    }
  }

  private static func run(_ page: [UInt8], from start: Int) -> Int {
    var end = start + 1
    while end < page.count, page[end] == page[start] { end += 1 }
    return end - start
  }

  private mutating func addFill(_ start: UInt64, _ length: UInt64, _ value: UInt8) {
    if let last = fill, last.value == value, last.start + last.length == start {
      fill = (last.start, last.length + length, value)
    } else {
      finish()
      fill = (start, length, value)
    }
  }

  mutating func finish() {
    guard let last = fill else { return }
    fill = nil
    begin(last.start, last.length << 1 | 1)
    bytes.append(last.value)
    position = last.start + last.length
  }

  private mutating func begin(_ start: UInt64, _ word: UInt64) {
    for number in [start - position, word] {
      var rest = number
      while rest >= 0x80 {
        bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
        rest >>= 7
      }
      bytes.append(UInt8(rest))
    }
  }
}
