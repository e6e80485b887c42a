import Storage
import TestSupport
import Testing

@testable import VHDX

@Suite("A VHDX writing session")
struct SessionTests {
  static func image(_ contents: SparseBytes) throws -> (VHDXImage, RecordedFile) {
    let double = RecordedFile(contents)
    return (try VHDXImage(HostFile(path: "image", double: double)), double)
  }

  static func dynamic(blocks: UInt64 = 8) throws -> SparseBytes {
    let double = RecordedFile()
    try VHDXImage.create(
      HostFile(path: "new", double: double),
      VHDXCreation(kind: .dynamic, virtualSize: blocks << 20, blockSize: 1 << 20))
    return double.contents
  }

  static func bytes(_ contents: SparseBytes, at offset: UInt64, count: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: count)
    result.withUnsafeMutableBytes { _ = contents.read(into: $0, at: offset) }
    return result
  }

  static func headers(_ contents: SparseBytes) throws -> [Header] {
    try VHDXFormat.headerOffsets.map { offset in
      let found = bytes(contents, at: offset, count: Header.size).withUnsafeBytes { Header($0) }
      return try #require(found)
    }
  }

  static func write(_ image: VHDXImage, _ bytes: [UInt8], at offset: UInt64) throws {
    let run = try image.prepareWrite(at: offset, limit: UInt64(bytes.count), mayAllocate: true, mayWait: true)
    #expect(run.kind == .ready || run.kind == .tracked)
    #expect(run.length == bytes.count)
    try image.file.write(bytes, at: run.fileOffset)
    if run.kind == .tracked { try image.completeWrite(run) }
  }

  @Test("An entry of the log says how long the file must be and how long it is for good")
  func sizesInTheLog() throws {
    let (image, double) = try SessionTests.image(try SessionTests.dynamic())
    try image.beginWriting()
    for block in [0, 5, 2] as [UInt64] {
      let run = try image.prepareWrite(at: block << 20, limit: 512, mayAllocate: true, mayWait: true)
      try image.file.write([UInt8](repeating: 3, count: 512), at: run.fileOffset)
      try image.commit()
      let header = try #require(
        try SessionTests.headers(double.contents).max { $0.sequenceNumber < $1.sequenceNumber })
      let file = HostFile(path: "image", double: RecordedFile(double.contents))
      let scanner = LogScanner(
        file: file, logOffset: header.logOffset, logLength: UInt64(header.logLength),
        logGUID: header.logGUID)
      let entry = try #require(try scanner.activeSequence().last?.header)
      // All structures fit into LastFileOffset, and FlushedFileOffset is on stable storage (2.3.1.1).
      #expect(entry.lastFileOffset >= run.fileOffset + (1 << 20))
      #expect(entry.flushedFileOffset >= run.fileOffset + (1 << 20))
      #expect(entry.lastFileOffset <= double.contents.size && entry.flushedFileOffset <= double.contents.size)
    }
  }

  @Test("Opening, reading and closing change nothing")
  func openingChangesNothing() throws {
    let (image, file) = try SessionTests.image(try SessionTests.dynamic())
    _ = try image.locate(0, limit: 4096, mayWait: true)
    try image.finishWriting()
    #expect(file.operationCount == 0)
  }

  @Test("Both identities are new before the first other byte changes, and the close leaves two fresh headers")
  func identities() throws {
    let before = try SessionTests.dynamic()
    let old = try SessionTests.headers(before)
    let (image, file) = try SessionTests.image(before)
    try image.beginWriting()
    // Nothing but a header may be different by now.
    #expect(file.operationCount == 2)
    let begun = try SessionTests.headers(file.contents)
    let current = begun[0].sequenceNumber > begun[1].sequenceNumber ? begun[0] : begun[1]
    #expect(!old.map(\.fileWriteGUID).contains(current.fileWriteGUID))
    #expect(!old.map(\.dataWriteGUID).contains(current.dataWriteGUID))
    try SessionTests.write(image, pattern(seed: 1, count: 4096), at: 0)
    try image.finishWriting()
    let closed = try SessionTests.headers(file.contents)
    #expect(closed.allSatisfy { $0.logGUID.isZero && $0.dataWriteGUID == current.dataWriteGUID })
    #expect(closed[0].sequenceNumber.distance(to: closed[1].sequenceNumber).magnitude == 1)
    // Unused room is gone: the tables and one block.
    #expect(file.contents.size == 5 << 20)
  }

  @Test("A header whose number cannot grow is not written over")
  func sequenceOverflow() throws {
    var contents = try SessionTests.dynamic()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Header.size, alignment: 8)
    defer { buffer.deallocate() }
    var header = try SessionTests.headers(contents)[1]
    header.sequenceNumber = .max
    header.encode(into: buffer)
    contents.write(UnsafeRawBufferPointer(buffer), at: VHDXFormat.headerOffsets[1])
    let (image, file) = try SessionTests.image(contents)
    #expect(throws: ImageError.self) { try image.beginWriting() }
    #expect(file.operationCount == 0)
  }

  @Test("A damaged region table is used around and mended through the log", arguments: [0, 1])
  func regionTable(copy: Int) throws {
    var contents = try SessionTests.dynamic()
    let good = SessionTests.bytes(contents, at: VHDXFormat.regionTableOffsets[copy], count: 64 << 10)
    [UInt8](repeating: 0xFF, count: 700).withUnsafeBytes {
      contents.write($0, at: VHDXFormat.regionTableOffsets[copy])
    }
    let (image, file) = try SessionTests.image(contents)
    try image.beginWriting()
    try SessionTests.write(image, pattern(seed: 1, count: 512), at: 0)
    try image.finishWriting()
    #expect(
      SessionTests.bytes(file.contents, at: VHDXFormat.regionTableOffsets[copy], count: 64 << 10) == good)
  }

  @Test("Room of an unmapped block is not used again before its release is durable")
  func softAnchor() throws {
    // Block 0 gets room, then is said to be unmapped with its room kept, as Windows leaves it.
    let (first, file) = try SessionTests.image(try SessionTests.dynamic())
    try first.beginWriting()
    try SessionTests.write(first, pattern(seed: 1, count: 1 << 20), at: 0)
    try first.finishWriting()
    var contents = file.contents
    let place: UInt64 = 4 << 20
    withUnsafeBytes(of: (place | 3).littleEndian) { contents.write($0, at: 3 << 20) }

    let (image, _) = try SessionTests.image(contents)
    #expect(try image.locate(0, limit: 1 << 20, mayWait: true).kind == .zero)
    try image.beginWriting()
    var run = try image.prepareWrite(at: 0, limit: 512, mayAllocate: true, mayWait: true)
    #expect(run.fileOffset == 5 << 20, "new room, because the old one holds old bytes")
    run = try image.prepareWrite(at: 1 << 20, limit: 512, mayAllocate: true, mayWait: true)
    #expect(run.fileOffset == 6 << 20)
    try image.commit()
    run = try image.prepareWrite(at: 2 << 20, limit: 512, mayAllocate: true, mayWait: true)
    #expect(run.fileOffset == place, "free now, and nearest")
    #expect(SessionTests.bytes(try image.file.contentsForTest, at: place, count: 4096).allSatisfy { $0 == 0 })
  }

  @Test("Blocks that share a place are not written, and the file stays as it was")
  func sharedPlace() throws {
    let (first, file) = try SessionTests.image(try SessionTests.dynamic())
    try first.beginWriting()
    try SessionTests.write(first, pattern(seed: 1, count: 4096), at: 0)
    try first.finishWriting()
    var contents = file.contents
    let entry = SessionTests.bytes(contents, at: 3 << 20, count: 8)
    entry.withUnsafeBytes { contents.write($0, at: (3 << 20) + 8) }
    let (image, double) = try SessionTests.image(contents)
    #expect(throws: ImageError.self) { try image.beginWriting() }
    #expect(double.operationCount == 0)
    #expect(try image.locate(1 << 20, limit: 512, mayWait: true).kind == .data)
  }

  @Test("More changed pages than one entry holds are committed in rounds, each a sound file")
  func manyPages() throws {
    let double = RecordedFile()
    try VHDXImage.create(
      HostFile(path: "new", double: double),
      VHDXCreation(kind: .dynamic, virtualSize: 512 << 30, blockSize: 1 << 20))
    let (image, file) = try SessionTests.image(double.contents)
    try image.beginWriting()
    // One block in each page of the table: 1024 pages for 512 GiB.
    for page in 0..<300 {
      try SessionTests.write(image, pattern(seed: UInt64(page), count: 512), at: UInt64(page) * (512 << 20))
    }
    var generator = SeededGenerator(seed: 3)
    file.sample(generator)
    try image.commit()
    for state in file.takeSamples() + [file.crashState(&generator)] {
      let (crashed, _) = try SessionTests.image(state)
      for page in 0..<300 {
        let offset = UInt64(page) * (512 << 20)
        let run = try crashed.locate(offset, limit: 512, mayWait: true)
        #expect(run.kind == .zero || run.kind == .data || run.kind == .logged)
      }
    }
    let (again, _) = try SessionTests.image(file.crashState(&generator))
    for page in 0..<300 {
      let run = try again.locate(UInt64(page) * (512 << 20), limit: 512, mayWait: true)
      var found = [UInt8](repeating: 0, count: 512)
      let result: Result<Void, ImageError> = found.withUnsafeMutableBytes { buffer in
        Result { () throws(ImageError) in try again.readLogged(into: buffer, at: run.fileOffset) }
      }
      try result.get()
      #expect(found == pattern(seed: UInt64(page), count: 512))
    }
  }

  @Test("A new image has nothing to lose")
  func creation() throws {
    let double = RecordedFile()
    try VHDXImage.create(
      HostFile(path: "new", double: double),
      VHDXCreation(kind: .dynamic, virtualSize: 8 << 20, blockSize: 1 << 20))
    #expect(double.pendingCount == 0 && double.flushCount > 0)
  }
}

extension HostFile {
  /// What the file holds, read through its own calls.
  fileprivate var contentsForTest: SparseBytes {
    get throws {
      var result = SparseBytes()
      var buffer = [UInt8](repeating: 0, count: Int(try size()))
      let read: Result<Void, ImageError> = buffer.withUnsafeMutableBytes { bytes in
        Result { () throws(ImageError) in try self.read(into: bytes, at: 0) }
      }
      try read.get()
      buffer.withUnsafeBytes { result.write($0, at: 0) }
      return result
    }
  }
}
