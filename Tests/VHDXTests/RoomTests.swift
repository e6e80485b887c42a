import Storage
import TestSupport
import Testing

@testable import VHDX

@Suite("Room of a VHDX file that is not what it seems")
struct RoomTests {
  static let mebibyte = VHDXFormat.mebibyte

  /// Changes the table's entry of `block` in a file.
  static func set(_ entry: BlockTableEntry, block: UInt64, in contents: inout SparseBytes) throws {
    let (image, _) = try SessionTests.image(contents)
    let place = image.regions.blockTable.offset + image.geometry.payloadIndex(block) * 8
    withUnsafeBytes(of: entry.rawValue.littleEndian) { contents.write($0, at: place) }
  }

  static func read(_ image: VHDXImage, at offset: UInt64, count: Int) throws -> [UInt8] {
    let run = try image.locate(offset, limit: UInt64(count), mayWait: true)
    #expect(run.kind == .data && run.length == count)
    var result = [UInt8](repeating: 0, count: count)
    try result.withUnsafeMutableBytes { try image.file.read(into: $0, at: run.fileOffset) }
    return result
  }

  @Test(
    "Room that a block gave up is not free before it is reclaimed, though the table does not speak of it any more"
  )
  func releasedDuringTheLook() throws {
    var space = SpaceMap(fileSize: 10 * RoomTests.mebibyte)
    let room = (6 * RoomTests.mebibyte)..<(7 * RoomTests.mebibyte)
    space.release(room, epoch: 3, change: 1)
    // Durable and unused; but whether the room was another block's as well is not known.
    #expect(space.takeReclaimable(epoch: 9, committed: 9).isEmpty)
    var used = SpaceUse(fileSize: 10 * RoomTests.mebibyte)
    for range in [0..<6, 7..<10] as [Range<UInt64>] {
      _ = used.add((range.lowerBound * RoomTests.mebibyte)..<(range.upperBound * RoomTests.mebibyte))
    }
    space.adopt(used: used)
    #expect(space.takeHoles(RoomTests.mebibyte, count: 8).isEmpty)
    #expect(space.takeReclaimable(epoch: 5, committed: 1) == [room])
    space.addFree(room)
    #expect(space.takeHoles(RoomTests.mebibyte, count: 8) == [room.lowerBound])
  }

  @Test("An unmapped block's old place behind the end of the file is nobody's to give up")
  func anchorBehindTheEnd() throws {
    var contents = try SessionTests.dynamic()
    let end = contents.size
    try RoomTests.set(BlockTableEntry(.unmapped, offset: end), block: 1, in: &contents)
    let (image, _) = try SessionTests.image(contents)
    try image.beginWriting()
    let first = pattern(seed: 1, count: 4096)
    try SessionTests.write(image, first, at: 0)
    try SessionTests.write(image, pattern(seed: 2, count: 4096), at: 1 << 20)
    for _ in 0..<3 { try image.commit() }
    #expect(try RoomTests.read(image, at: 0, count: 4096) == first)
    try SessionTests.write(image, pattern(seed: 3, count: 4096), at: 2 << 20)
    try SessionTests.write(image, pattern(seed: 4, count: 4096), at: 3 << 20)
    #expect(try RoomTests.read(image, at: 0, count: 4096) == first)
  }

  @Test("An unmapped block's old place that no file reaches")
  func anchorNowhere() throws {
    var contents = try SessionTests.dynamic()
    try RoomTests.set(BlockTableEntry(.undefined, offset: 1 << 50), block: 1, in: &contents)
    let (image, _) = try SessionTests.image(contents)
    try image.beginWriting()
    try SessionTests.write(image, pattern(seed: 2, count: 4096), at: 1 << 20)
    try image.commit()
    try image.finishWriting()
  }

  @Test(
    "An unmapped block's old place that is another block's: nothing is written", arguments: [true, false])
  func anchorOnABlock(anchorFirst: Bool) throws {
    let (made, file) = try SessionTests.image(try SessionTests.dynamic())
    try made.beginWriting()
    try SessionTests.write(made, pattern(seed: 1, count: 4096), at: 2 << 20)
    let place = try made.locate(2 << 20, limit: 1, mayWait: true).fileOffset
    try made.finishWriting()
    var contents = file.contents
    try RoomTests.set(BlockTableEntry(.unmapped, offset: place), block: anchorFirst ? 1 : 3, in: &contents)
    let (image, again) = try SessionTests.image(contents)
    #expect(throws: ImageError.self) { try image.beginWriting() }
    #expect(again.operationCount == 0)
  }

  @Test("A log that makes the file longer than any is read, not written")
  func hugeLastFileOffset() throws {
    var contents = try SessionTests.dynamic()
    var header = try SessionTests.headers(contents)[1]
    header.logGUID = .random()
    header.sequenceNumber += 1
    let entry = LogWriter.entry(
      [], position: 0, sequenceNumber: 1, logGUID: header.logGUID, flushedFileOffset: 0,
      lastFileOffset: 1 << 60)
    defer { entry.deallocate() }
    contents.write(UnsafeRawBufferPointer(entry), at: header.logOffset)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Header.size, alignment: 8)
    defer { buffer.deallocate() }
    header.encode(into: buffer)
    contents.write(UnsafeRawBufferPointer(buffer), at: VHDXFormat.headerOffsets[0])
    let (image, file) = try SessionTests.image(contents)
    #expect(try image.locate(0, limit: 4096, mayWait: true).kind == .zero)
    #expect(throws: ImageError.self) { try image.beginWriting() }
    #expect(file.operationCount == 0)
  }

  @Test("A table with bits set that the format keeps clear is believed in nothing: no write, no compaction")
  func reservedBits() throws {
    var contents = try SessionTests.dynamic()
    let (made, _) = try SessionTests.image(contents)
    let place = made.regions.blockTable.offset + made.geometry.payloadIndex(1) * 8
    // Zero, but for a reserved bit: no room of the file is spoken of.
    withUnsafeBytes(of: UInt64(1 << 7 | 2).littleEndian) { contents.write($0, at: place) }
    let (image, file) = try SessionTests.image(contents)
    #expect(try image.locate(1 << 20, limit: 4096, mayWait: true).kind == .zero)
    for attempt in [
      { try image.beginWriting() },
      { _ = try image.packing(without: { _ in false }, moves: true, batch: 1 << 20) },
    ] {
      let error = #expect(throws: ImageError.self) { try attempt() }
      #expect(error?.returnValue == .wrongDataType)
    }
    #expect(file.operationCount == 0)
  }

  /// A disk with a table too long to be looked through before the first change; its last block may be there, cut where
  /// the disk ends.
  static func longTable(hasLastBlock: Bool) throws -> SparseBytes {
    let double = RecordedFile()
    let blocks: UInt64 = 1 << 19
    let size = (blocks * 2 + 1) << 20
    try VHDXImage.create(
      HostFile(path: "new", double: double),
      VHDXCreation(kind: .dynamic, virtualSize: size, blockSize: 2 << 20))
    var contents = double.contents
    guard hasLastBlock else { return contents }
    try set(BlockTableEntry(.fullyPresent, offset: contents.size), block: blocks, in: &contents)
    contents.resize(to: contents.size + 1 << 20)
    return contents
  }

  @Test(
    "New blocks keep clear of a last block that reaches beyond the file, before the table was looked through")
  func cutLastBlock() throws {
    let (image, _) = try SessionTests.image(try RoomTests.longTable(hasLastBlock: true))
    try image.beginWriting()
    try SessionTests.write(image, pattern(seed: 1, count: 4096), at: 0)
    let last =
      try image.locate(image.virtualSize - 1, limit: 1, mayWait: true).fileOffset / (1 << 20) * (1 << 20)
    let first = try image.locate(0, limit: 1, mayWait: true).fileOffset
    #expect(first >= last + 2 << 20)
    try image.commit()
    try image.scanSpace()
    try image.finishWriting()
  }

  @Test(
    "A host that cannot do what the look needs is no reason to refuse writes, and the look is done again",
    arguments: [RecordedFile.Operation.read, .resize])
  func unreadableTable(_ operation: RecordedFile.Operation) throws {
    var contents = try RoomTests.longTable(hasLastBlock: false)
    // It ends inside a MiB, so that the look makes that one whole.
    contents.resize(to: contents.size + 4096)
    let (image, file) = try SessionTests.image(contents)
    try image.beginWriting()
    file.follow(.init([operation], first: 0, lasts: true, .fails(.ioError)))
    #expect(throws: ImageError.self) { try image.scanSpace() }
    #expect(file.failedCount > 0)
    #expect(image.tables.withLock { !$0.space.isAdopted })
    file.clearFaults()
    try SessionTests.write(image, pattern(seed: 1, count: 4096), at: 0)
    try image.commit()
    try image.scanSpace()
    try SessionTests.write(image, pattern(seed: 2, count: 4096), at: 4 << 20)
    #expect(image.tables.withLock { $0.space.isAdopted })
    try image.finishWriting()
    let (closed, _) = try SessionTests.image(file.contents)
    #expect(try RoomTests.read(closed, at: 0, count: 4096) == pattern(seed: 1, count: 4096))
    #expect(try RoomTests.read(closed, at: 4 << 20, count: 4096) == pattern(seed: 2, count: 4096))
  }

  @Test("Room given up before the look is made zero before it is another block's, and not after")
  func reclaimedAfterTheLook() throws {
    let (made, file) = try SessionTests.image(try RoomTests.longTable(hasLastBlock: false))
    try made.beginWriting()
    try SessionTests.write(made, pattern(seed: 1, count: 4096), at: 0)
    try made.finishWriting()
    let (image, _) = try SessionTests.image(file.contents)
    try image.beginWriting()
    // An operation is under way all the time, so that the room cannot be reclaimed at once.
    let entered = image.gate.enter()
    #expect(try image.zero(at: 0, limit: 2 << 20).kind == .done)
    for _ in 0..<3 { try image.commit() }
    try image.scanSpace()
    let written = pattern(seed: 2, count: 4096)
    try SessionTests.write(image, written, at: 4 << 20)
    image.gate.leave(entered)
    for _ in 0..<3 { try image.commit() }
    #expect(try RoomTests.read(image, at: 4 << 20, count: 4096) == written)
    try image.finishWriting()
  }

  @Test("The block that becomes whole may have been pushed out of the cache while its bits were looked at")
  func fullCache() throws {
    let double = RecordedFile()
    let size: UInt64 = 256 << 20
    try VHDXImage.create(
      HostFile(path: "new", double: double),
      VHDXCreation(
        kind: .differencing(
          parent: ParentLocator(linkage: .random(), relativePath: "parent.vhdx"), inherited: []),
        virtualSize: size, blockSize: size))
    let (first, file) = try SessionTests.image(double.contents)
    try first.beginWriting()
    // The bits are what matters here, and not the bytes.
    let most = try first.prepareWrite(at: 0, limit: size - 512, mayAllocate: true, mayWait: true)
    #expect(most.kind == .tracked && most.length == size - 512)
    try first.completeWrite(most)
    try first.finishWriting()

    let (image, _) = try SessionTests.image(file.contents)
    try image.beginWriting()
    let last = try image.prepareWrite(at: size - 512, limit: 512, mayAllocate: true, mayWait: true)
    #expect(last.kind == .tracked)
    image.tables.withLock { tables in
      var key: UInt64 = 1 << 50
      while tables.cache.count < tables.cache.capacity {
        _ = tables.cache.insert(key)
        key += 4096
      }
    }
    try image.completeWrite(last)
    try image.finishWriting()
    let run = try image.locate(0, limit: size, mayWait: true)
    #expect(run.kind == .data && run.length == size)
  }
}
