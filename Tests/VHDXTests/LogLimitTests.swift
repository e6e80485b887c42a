import Storage
import TestSupport
import Testing

@testable import VHDX

@Suite("Limits of a log that is replayed")
struct LogLimitTests {
  /// A log of `length` bytes at 1 MiB that holds one entry of `count` zero descriptors.
  static func log(length: UInt64, descriptors count: Int, guid: GUID) -> SparseBytes {
    let sectors = LogWriter.descriptorSectors(count)
    let entry = UnsafeMutableRawBufferPointer.allocate(byteCount: sectors * 4096, alignment: 8)
    defer { entry.deallocate() }
    entry.initializeMemory(as: UInt8.self, repeating: 0)
    LogEntryHeader(
      entryLength: UInt32(entry.count), tail: 0, sequenceNumber: 1, descriptorCount: UInt32(count),
      logGUID: guid,
      flushedFileOffset: 0, lastFileOffset: 0
    ).encode(into: entry)
    for index in 0..<count {
      let at = LogEntryHeader.descriptorOffset(index)
      entry.storeLittleEndian(VHDXFormat.Signature.zeroDescriptor, at: at)
      entry.storeLittleEndian(UInt64(4096), at: at + 8)
      entry.storeLittleEndian((1 << 40) + UInt64(index) * 8192, at: at + 16)
      entry.storeLittleEndian(UInt64(1), at: at + 24)
    }
    entry.storeLittleEndian(Checksum.of(UnsafeRawBufferPointer(entry), zeroingFieldAt: 4), at: 4)
    var contents = SparseBytes()
    contents.write(UnsafeRawBufferPointer(entry), at: 1 << 20)
    contents.resize(to: (1 << 20) + length)
    return contents
  }

  @Test(
    "A million changes are replayed, one more is refused", arguments: [(1_000_000, true), (1_000_001, false)])
  func descriptors(count: Int, isReplayed: Bool) throws {
    let guid = GUID.random()
    let length: UInt64 = 40 << 20
    let contents = LogLimitTests.log(length: length, descriptors: count, guid: guid)
    let file = HostFile(path: "log", double: RecordedFile(contents))
    let scanner = LogScanner(file: file, logOffset: 1 << 20, logLength: length, logGUID: guid)
    if isReplayed {
      let overlay = try LogOverlay(
        try scanner.activeSequence(), scanner: scanner, protecting: (1 << 20)..<((1 << 20) + length))
      #expect(overlay.intervals.count == count)
    } else {
      #expect { try scanner.activeSequence() } throws: { error in
        (error as? ImageError)?.returnValue == .notSupported && "\(error)".contains("1,000,000")
      }
    }
  }

  @Test("A log of more than 256 MiB is refused when it must be replayed, and only then")
  func length() throws {
    var contents = try SessionTests.dynamic()
    let size: UInt64 = 257 << 20
    contents.resize(to: (4 << 20) + size)
    for (isDirty, isRefused) in [(false, false), (true, true)] {
      var header = try SessionTests.headers(contents)[1]
      header.sequenceNumber += 2
      header.logOffset = 4 << 20
      header.logLength = UInt32(size)
      header.logGUID = isDirty ? .random() : .zero
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Header.size, alignment: 8)
      defer { buffer.deallocate() }
      header.encode(into: buffer)
      contents.write(UnsafeRawBufferPointer(buffer), at: VHDXFormat.headerOffsets[1])
      if isRefused {
        #expect { try SessionTests.image(contents) } throws: { "\($0)".contains("256 MiB") }
      } else {
        _ = try SessionTests.image(contents)
      }
    }
  }

  @Test("Later changes win over earlier ones, wherever they meet")
  func latestWins() throws {
    // Zeros over pages over zeros, in three entries of one sequence.
    let guid = GUID.random()
    var contents = SparseBytes()
    var position: UInt64 = 0
    let pages = (0..<8).map {
      LoggedPage(fileOffset: (8 << 20) + UInt64($0) * 4096, contents: pattern(seed: UInt64($0), count: 4096))
    }
    let second = LogWriter.entry(
      [LoggedPage(fileOffset: (8 << 20) + 3 * 4096, contents: pattern(seed: 99, count: 4096))], position: 0,
      sequenceNumber: 2, logGUID: guid, flushedFileOffset: 0, lastFileOffset: 0)
    defer { second.deallocate() }
    let first = LogWriter.entry(
      pages, position: 0, sequenceNumber: 1, logGUID: guid, flushedFileOffset: 0, lastFileOffset: 0)
    defer { first.deallocate() }
    for entry in [first, second] {
      contents.write(UnsafeRawBufferPointer(entry), at: (1 << 20) + position)
      position += UInt64(entry.count)
    }
    contents.resize(to: 2 << 20)
    let file = HostFile(path: "log", double: RecordedFile(contents))
    let scanner = LogScanner(file: file, logOffset: 1 << 20, logLength: 1 << 20, logGUID: guid)
    let sequence = try scanner.activeSequence()
    #expect(sequence.count == 2)
    let overlay = try LogOverlay(sequence, scanner: scanner, protecting: (1 << 20)..<(2 << 20))
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8 * 4096, alignment: 8)
    defer { buffer.deallocate() }
    try overlay.read(file, into: buffer, at: 8 << 20)
    let expected = (0..<8).flatMap { pattern(seed: $0 == 3 ? 99 : UInt64($0), count: 4096) }
    #expect(Array(buffer) == expected)
  }
}
