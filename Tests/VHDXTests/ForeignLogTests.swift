import Storage
import TestSupport
import Testing

@testable import VHDX

/// Logs as other programs write them: zero descriptors, several entries a sequence, leavings of earlier sessions.
@Suite("A log of another program")
struct ForeignLogTests {
  enum Change {
    case zeros(offset: UInt64, length: UInt64)
    case page(offset: UInt64, [UInt8])
  }

  static let log: Range<UInt64> = (1 << 20)..<(2 << 20)

  /// The bytes of an entry with `changes`.
  static func entry(
    _ changes: [Change], tail: UInt64, sequenceNumber: UInt64, guid: GUID, flushedSize: UInt64,
    lastSize: UInt64
  ) -> [UInt8] {
    let sectors = LogWriter.descriptorSectors(changes.count)
    let pages = changes.filter { if case .page = $0 { true } else { false } }.count
    var entry = [UInt8](repeating: 0, count: (sectors + pages) * 4096)
    entry.withUnsafeMutableBytes { entry in
      LogEntryHeader(
        entryLength: UInt32(entry.count), tail: UInt32(tail), sequenceNumber: sequenceNumber,
        descriptorCount: UInt32(changes.count), logGUID: guid, flushedFileOffset: flushedSize,
        lastFileOffset: lastSize
      ).encode(into: entry)
      var sector = sectors * 4096
      for (index, change) in changes.enumerated() {
        let at = LogEntryHeader.descriptorOffset(index)
        switch change {
        case .zeros(let offset, let length):
          entry.storeLittleEndian(VHDXFormat.Signature.zeroDescriptor, at: at)
          entry.storeLittleEndian(length, at: at + 8)
          entry.storeLittleEndian(offset, at: at + 16)
        case .page(let offset, let bytes):
          entry.storeLittleEndian(VHDXFormat.Signature.dataDescriptor, at: at)
          for byte in 0..<4 { entry[at + 4 + byte] = bytes[4092 + byte] }
          for byte in 0..<8 { entry[at + 8 + byte] = bytes[byte] }
          entry.storeLittleEndian(offset, at: at + 16)
          entry.storeLittleEndian(VHDXFormat.Signature.dataSector, at: sector)
          entry.storeLittleEndian(UInt32(sequenceNumber >> 32), at: sector + 4)
          for byte in 8..<4092 { entry[sector + byte] = bytes[byte] }
          entry.storeLittleEndian(UInt32(truncatingIfNeeded: sequenceNumber), at: sector + 4092)
          sector += 4096
        }
        entry.storeLittleEndian(sequenceNumber, at: at + 24)
      }
      entry.storeLittleEndian(Checksum.of(UnsafeRawBufferPointer(entry), zeroingFieldAt: 4), at: 4)
    }
    return entry
  }

  /// An image of 8 blocks, the first two of which hold data, with a log that is named and holds `entries`.
  static func image(_ entries: [(position: UInt64, bytes: [UInt8])], guid: GUID) throws -> SparseBytes {
    let (image, file) = try SessionTests.image(try SessionTests.dynamic())
    try image.beginWriting()
    for block in UInt64(0)..<2 {
      try SessionTests.write(image, pattern(seed: block + 1, count: 1 << 20), at: block << 20)
    }
    try image.finishWriting()
    var contents = file.contents
    var header = try #require(
      try SessionTests.headers(contents).max { $0.sequenceNumber < $1.sequenceNumber })
    let slot = try SessionTests.headers(contents)[0].sequenceNumber == header.sequenceNumber ? 1 : 0
    header.sequenceNumber += 1
    header.logGUID = guid
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Header.size, alignment: 8)
    defer { buffer.deallocate() }
    header.encode(into: buffer)
    contents.write(UnsafeRawBufferPointer(buffer), at: VHDXFormat.headerOffsets[slot])
    contents.zero(at: log.lowerBound, length: 1 << 20)
    for entry in entries {
      entry.bytes.withUnsafeBytes { contents.write($0, at: log.lowerBound + entry.position) }
    }
    return contents
  }

  static func place(_ contents: SparseBytes, block: UInt64) throws -> UInt64 {
    let (image, _) = try SessionTests.image(contents)
    return try image.locate(block << 20, limit: 1 << 20, mayWait: true).fileOffset
  }

  @Test("puts zeros and pages where it says, and leaves the rest alone")
  func zerosAndPages() throws {
    let guid = GUID.random()
    let clean = try ForeignLogTests.image([], guid: .zero)
    let place = try ForeignLogTests.place(clean, block: 1)
    let page = pattern(seed: 77, count: 4096)
    let changes: [Change] = [
      .zeros(offset: place, length: 65536), .page(offset: place + 8192, page),
      .page(offset: place + 131072, page), .zeros(offset: place + 131072 - 4096, length: 12288),
      .zeros(offset: place + 262144, length: 4096),
    ]
    let size = clean.size
    let bytes = ForeignLogTests.entry(
      changes, tail: 0, sequenceNumber: 5, guid: guid, flushedSize: size, lastSize: size)
    let contents = try ForeignLogTests.image([(0, bytes)], guid: guid)
    var expected = pattern(seed: 2, count: 1 << 20)
    expected.replaceSubrange(0..<65536, with: [UInt8](repeating: 0, count: 65536))
    expected.replaceSubrange(8192..<12288, with: page)
    expected.replaceSubrange((131072 - 4096)..<(131072 + 8192), with: [UInt8](repeating: 0, count: 12288))
    expected.replaceSubrange(262144..<266240, with: [UInt8](repeating: 0, count: 4096))

    let (image, file) = try SessionTests.image(contents)
    #expect(image.logIsDirty)
    try image.beginWriting()
    // Compared apart from the macro, which would look for the shortest way from one to the other.
    let isExpected = SessionTests.bytes(file.contents, at: place, count: 1 << 20) == expected
    #expect(isExpected)
    #expect(try SessionTests.headers(file.contents).allSatisfy { $0.logGUID.isZero })
    #expect(file.pendingCount == 0)
    let other = try ForeignLogTests.place(file.contents, block: 0)
    let isUntouched =
      SessionTests.bytes(file.contents, at: other, count: 1 << 20) == pattern(seed: 1, count: 1 << 20)
    #expect(isUntouched)
  }

  @Test("counts only by the newest sequence of this log's own entries")
  func newestSequence() throws {
    let guid = GUID.random()
    let clean = try ForeignLogTests.image([], guid: .zero)
    let place = try ForeignLogTests.place(clean, block: 1)
    func entry(_ seed: UInt64, _ number: UInt64, at position: UInt64, _ guid: GUID) -> (UInt64, [UInt8]) {
      (
        position,
        ForeignLogTests.entry(
          [.page(offset: place, pattern(seed: seed, count: 4096))], tail: position, sequenceNumber: number,
          guid: guid, flushedSize: clean.size, lastSize: clean.size)
      )
    }
    // Two sequences of this log, and one with a greater number that an earlier session left.
    let contents = try ForeignLogTests.image(
      [entry(10, 7, at: 0, guid), entry(11, 9, at: 65536, guid), entry(12, 8, at: 131072, guid)]
        + [entry(13, 100, at: 262144, .random())], guid: guid)
    let (image, file) = try SessionTests.image(contents)
    try image.beginWriting()
    #expect(SessionTests.bytes(file.contents, at: place, count: 4096) == pattern(seed: 11, count: 4096))
  }

  @Test("is none where the only entry is torn, and the file is refused")
  func tornEntry() throws {
    let guid = GUID.random()
    let clean = try ForeignLogTests.image([], guid: .zero)
    let place = try ForeignLogTests.place(clean, block: 1)
    var bytes = ForeignLogTests.entry(
      [.page(offset: place, pattern(seed: 3, count: 4096))], tail: 0, sequenceNumber: 1, guid: guid,
      flushedSize: clean.size, lastSize: clean.size)
    bytes[4096 + 100] ^= 1
    let contents = try ForeignLogTests.image([(0, bytes)], guid: guid)
    #expect { try SessionTests.image(contents) } throws: {
      ($0 as? ImageError)?.returnValue == .wrongDataType
    }
  }

  @Test("may not touch the headers, nor itself", arguments: [0, 65536, 131072, 1 << 20] as [UInt64])
  func forbiddenPlace(_ offset: UInt64) throws {
    let guid = GUID.random()
    let clean = try ForeignLogTests.image([], guid: .zero)
    let bytes = ForeignLogTests.entry(
      [.zeros(offset: offset, length: 4096)], tail: 0, sequenceNumber: 1, guid: guid, flushedSize: clean.size,
      lastSize: clean.size)
    let contents = try ForeignLogTests.image([(0, bytes)], guid: guid)
    #expect { try SessionTests.image(contents) } throws: {
      ($0 as? ImageError)?.returnValue == .wrongDataType
    }
  }

  @Test("of a file that is longer than this one: it was cut")
  func cutFile() throws {
    let guid = GUID.random()
    let clean = try ForeignLogTests.image([], guid: .zero)
    for (flushed, isRefused) in [(clean.size, false), (clean.size + (1 << 20), true)] {
      let bytes = ForeignLogTests.entry(
        [.zeros(offset: 8 << 20, length: 0)], tail: 0, sequenceNumber: 1, guid: guid, flushedSize: flushed,
        lastSize: flushed)
      let contents = try ForeignLogTests.image([(0, bytes)], guid: guid)
      if isRefused {
        #expect { try SessionTests.image(contents) } throws: { "\($0)".contains("cut") }
      } else {
        _ = try SessionTests.image(contents)
      }
    }
  }

  @Test("grows the file to the size that its entries speak of")
  func growth() throws {
    let guid = GUID.random()
    let clean = try ForeignLogTests.image([], guid: .zero)
    let bytes = ForeignLogTests.entry(
      [.zeros(offset: 3 << 20, length: 0)], tail: 0, sequenceNumber: 1, guid: guid, flushedSize: clean.size,
      lastSize: clean.size + (6 << 20))
    let (image, file) = try SessionTests.image(try ForeignLogTests.image([(0, bytes)], guid: guid))
    try image.beginWriting()
    #expect(file.contents.size >= clean.size + (6 << 20))
  }

  @Test("Of changes that overlap in any way, each byte is the latest one's", arguments: UInt64(1)...40)
  func overlaps(_ seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var changes: [LogOverlay.Interval] = []
    var model = [Int?](repeating: nil, count: 64)
    for number in 0..<Int.random(in: 1...30, using: &generator) {
      let start = Int.random(in: 0..<63, using: &generator)
      let isPage = Bool.random(using: &generator)
      let end = isPage ? start + 1 : Int.random(in: (start + 1)...64, using: &generator)
      changes.append(
        LogOverlay.Interval(
          start: UInt64(start) * 4096, end: UInt64(end) * 4096,
          page: isPage ? LogOverlay.Page(sector: UInt64(number + 1) * 4096, leading: 0, trailing: 0) : nil))
      for unit in start..<end { model[unit] = isPage ? number + 1 : 0 }
    }
    var found = [Int?](repeating: nil, count: 64)
    var last: UInt64 = 0
    for interval in LogOverlay.latest(changes) {
      #expect(interval.start >= last && interval.end > interval.start)
      last = interval.end
      for unit in Int(interval.start / 4096)..<Int(interval.end / 4096) {
        found[unit] = interval.page.map { Int($0.sector / 4096) } ?? 0
      }
    }
    #expect(found == model)
  }
}
