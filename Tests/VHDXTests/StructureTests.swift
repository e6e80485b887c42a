import Storage
import TestSupport
import Testing

@testable import VHDX

@Suite("VHDX structures")
struct StructureTests {
  @Test("The checksum is CRC-32C, the field taken as zero")
  func checksum() {
    let bytes = Array("123456789".utf8)
    #expect(bytes.withUnsafeBytes { ~Checksum.advance(~0, $0) } == 0xE306_9283)
    let filled: [UInt8] = [1, 2, 3, 0xAA, 0xBB, 0xCC, 0xDD, 4]
    let empty: [UInt8] = [1, 2, 3, 0, 0, 0, 0, 4]
    let sum = empty.withUnsafeBytes { ~Checksum.advance(~0, $0) }
    #expect(filled.withUnsafeBytes { Checksum.of($0, zeroingFieldAt: 3) } == sum)
  }

  @Test("Table indices stay right behind the first chunk")
  func geometry() {
    // A disk of 10 GiB with blocks of 32 MiB, as Windows wrote it: the last block stands at index 321.
    let geometry = BlockTableGeometry(
      virtualSize: 10 << 30, blockSize: 32 << 20, logicalSectorSize: 512, isDifferencing: false)
    #expect(geometry.chunkRatio == 128)
    #expect(geometry.payloadIndex(319) == 321)
    #expect(geometry.entries == 322)
    let largest = BlockTableGeometry(
      virtualSize: 64 << 40, blockSize: 1 << 20, logicalSectorSize: 512, isDifferencing: true)
    #expect(largest.entries == 67_125_248)
    #expect(largest.isBitmap(index: largest.bitmapIndex(chunk: 5)))
  }

  @Test("A parent locator is read as it was written")
  func parentLocator() throws {
    let locator = ParentLocator(
      linkage: .random(), linkage2: .random(), relativePath: ".\\päréñt 😀.vhdx",
      absoluteWin32Path: "\\\\?\\C:\\x.vhdx")
    #expect(try ParentLocator(locator.encode(file: "x"), file: "x", at: 0) == locator)
  }

  @Test("A parent locator has 256 pairs at most")
  func parentLocatorPairs() throws {
    var bytes = try ParentLocator(
      linkage: .random(), linkage2: .random(), relativePath: ".\\x.vhdx", absoluteWin32Path: nil
    ).encode(file: "x")
    bytes += [UInt8](repeating: 0, count: 8192)
    bytes.replaceSubrange(18..<20, with: [1, 1])
    let error = #expect(throws: ImageError.self) { try ParentLocator(bytes, file: "x", at: 0) }
    #expect(error?.description.contains("257 pairs") == true)
  }

  @Test("An entry in the log is found whole and replayed as written", arguments: [1, 2, 100, 126])
  func logEntry(pages: Int) throws {
    let guid = GUID.random()
    let logged = (0..<pages).map {
      LoggedPage(
        fileOffset: UInt64(4 << 20) + UInt64($0) * 8192, contents: pattern(seed: UInt64($0), count: 4096))
    }
    let entry = LogWriter.entry(
      logged, position: 0, sequenceNumber: 7, logGUID: guid, flushedFileOffset: 0, lastFileOffset: 8 << 20)
    defer { entry.deallocate() }
    var contents = SparseBytes()
    contents.write(UnsafeRawBufferPointer(entry), at: 1 << 20)
    contents.resize(to: 2 << 20)
    let file = HostFile(path: "log", double: RecordedFile(contents))
    let scanner = LogScanner(file: file, logOffset: 1 << 20, logLength: 1 << 20, logGUID: guid)
    let overlay = try LogOverlay(
      try scanner.activeSequence(), scanner: scanner, protecting: (1 << 20)..<(2 << 20))
    #expect(overlay.intervals.count == pages)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    for page in logged {
      try overlay.read(file, into: buffer, at: page.fileOffset)
      #expect(Array(buffer) == page.contents)
    }
    // One bit anywhere in it, and the entry is none.
    for place in [0, 70, entry.count / 2, entry.count - 1] {
      var broken = contents
      let byte = entry[place] ^ 0x10
      withUnsafeBytes(of: byte) { broken.write($0, at: UInt64(1 << 20) + UInt64(place)) }
      let scanner = LogScanner(
        file: HostFile(path: "log", double: RecordedFile(broken)), logOffset: 1 << 20, logLength: 1 << 20,
        logGUID: guid)
      #expect(throws: ImageError.self) { try scanner.activeSequence() }
    }
  }
}
