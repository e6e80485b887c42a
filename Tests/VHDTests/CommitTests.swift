import Storage
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import VHD

/// How changes become durable: how many flushes they take, and what happens when the host fails.
@Suite struct CommitTests {
  static func newImage(
    size: UInt64 = 64 << 20, blockSize: UInt32 = 512 << 10
  ) throws -> (double: RecordingFile, image: VHDImage, disk: SmallDisk) {
    let creator = RecordingFile()
    try VHDImage.create(creator.file, VHDCreation(kind: .dynamic, virtualSize: size, blockSize: blockSize))
    let double = RecordingFile(creator.contents.withLock { $0.now })
    let image = try VHDImage(double.file)
    return (double, image, SmallDisk([image]))
  }

  /// A child of an empty disk.
  static func newChild(size: UInt64 = 64 << 20) throws -> (
    double: RecordingFile, image: VHDImage, disk: SmallDisk
  ) {
    let parent = try newImage(size: size).image
    let creator = RecordingFile()
    let link = VHDParent(
      uniqueID: parent.footer.uniqueID, timeStamp: 0, relativePath: "p.vhd", absolutePath: "/p.vhd")
    try VHDImage.create(
      creator.file,
      VHDCreation(kind: .differencing(parent: link), virtualSize: size, blockSize: 512 << 10))
    let double = RecordingFile(creator.contents.withLock { $0.now })
    let image = try VHDImage(double.file)
    return (double, image, SmallDisk([image, parent]))
  }

  static func flushes(_ double: RecordingFile) -> Int {
    double.contents.withLock { $0.log.count { if case .flush = $0 { true } else { false } } }
  }

  @Test func manyChangesTakeTwoFlushes() throws {
    let (double, image, disk) = try CommitTests.newImage()
    try image.beginWriting()
    #expect(CommitTests.flushes(double) == 0)
    for block in 0..<20 { try disk.write([1, 2, 3], at: UInt64(block) * 3 << 19) }
    // One move of the footer made room for all.
    #expect(CommitTests.flushes(double) == 1)
    #expect(image.hasUncommittedChanges)
    try image.commit()
    #expect(CommitTests.flushes(double) == 3)
    #expect(!image.hasUncommittedChanges)
    // Sectors that have their bits need no change of tables: one flush for the data.
    try disk.write([4, 5, 6], at: 0)
    try image.commit()
    #expect(CommitTests.flushes(double) == 4)
  }

  /// No more room is reserved than the disk can need.
  @Test func smallDisksReserveLittle() throws {
    let (double, image, disk) = try CommitTests.newImage(size: 2 << 20)
    try image.beginWriting()
    try disk.write([1], at: 0)
    #expect(try double.size() <= 12288 + 4 * ((512 << 10) + 4096))
  }

  @Test func bitsSayWhatWasWritten() throws {
    var expected = [UInt8](repeating: 0, count: 512)
    expected[0] = 0b0001_1000
    expected[12] = 0b0000_1000
    #expect(try bitmapAfterWriting(try CommitTests.newChild()) == expected)
  }

  /// Where nothing is below, a new block has all its bits from the beginning: readers that heed them and readers that
  /// do not see the same.
  @Test func bitsOfADynamicBlockAreSetTogether() throws {
    let expected = [UInt8](repeating: 0xFF, count: 128) + [UInt8](repeating: 0, count: 384)
    #expect(try bitmapAfterWriting(try CommitTests.newImage()) == expected)
  }

  /// A dynamic block of another writer, of which some sectors have no bit: they read as zero whatever lies there, also
  /// beside a byte that is written; and the next block in that place has none of its bits.
  @Test func bitsOfOthersAreHeeded() throws {
    let (double, first, disk) = try CommitTests.newImage()
    try first.beginWriting()
    try disk.write([UInt8](repeating: 0xEE, count: 512 << 10), at: 0)
    try first.finishWriting()
    let layout = try #require(first.blocks?.layout)
    let entry = ByteBuffer(count: 4)
    try double.file.read(into: entry.bytes, at: layout.tableOffset)
    let place = UInt64(entry.readable.bigEndian(UInt32.self, at: 0)) * 512
    try double.file.write([0b1000_0000] + [UInt8](repeating: 0, count: 511), at: place)

    let image = try VHDImage(double.file)
    let again = SmallDisk([image])
    try image.beginWriting()
    try again.write([1], at: 3 * 512 + 17)
    var expected = [UInt8](repeating: 0xEE, count: 512) + [UInt8](repeating: 0, count: 7 * 512)
    expected[3 * 512 + 17] = 1
    #expect(try again.read(0, 4096) == expected)
    try image.finishWriting()
    #expect(try SmallDisk([VHDImage(double.file)]).read(0, 4096) == expected)

    // Another block takes the place, of which a page with other bits was in memory.
    try image.beginWriting()
    try again.write([3], at: 9 * 512)
    try again.zero(0, 512 << 10)
    for _ in 0..<3 { try image.commit() }
    try again.write([2], at: (5 << 19) + 20 * 512)
    try image.commit()
    try double.file.read(into: entry.bytes, at: layout.tableOffset + 5 * 4)
    #expect(UInt64(entry.readable.bigEndian(UInt32.self, at: 0)) * 512 == place)
    let bitmap = ByteBuffer(count: 128)
    try double.file.read(into: bitmap.bytes, at: place)
    #expect(bitmap.bytes.allSatisfy { $0 == 0xFF })
  }

  private func bitmapAfterWriting(
    _ made: (double: RecordingFile, image: VHDImage, disk: SmallDisk)
  ) throws -> [UInt8] {
    let (double, image, disk) = made
    try image.beginWriting()
    try disk.write([UInt8](repeating: 7, count: 1024), at: (512 << 10) + 3 * 512)
    try disk.write([9], at: (512 << 10) + 100 * 512 + 17)
    try image.finishWriting()
    let layout = try #require(image.blocks?.layout)
    let entry = ByteBuffer(count: 8)
    try double.file.read(into: entry.bytes, at: layout.tableOffset)
    #expect(entry.readable.bigEndian(UInt32.self, at: 0) == .max)
    let place = UInt64(entry.readable.bigEndian(UInt32.self, at: 4)) * 512
    #expect((place + 512) % 4096 == 0)
    let bitmap = ByteBuffer(count: 512)
    try double.file.read(into: bitmap.bytes, at: place)
    return Array(bitmap.bytes)
  }

  /// Whole blocks that are zeroed give their room up, and it is used again, zeroed.
  @Test func freedRoomIsUsedAgain() throws {
    let (double, image, disk) = try CommitTests.newImage()
    try image.beginWriting()
    let full = [UInt8](repeating: 0xEE, count: 512 << 10)
    for block in 0..<8 { try disk.write(full, at: UInt64(block) << 19) }
    try image.commit()
    let size = try double.size()
    for round in 0..<20 {
      let offset = UInt64(round % 4) << 19
      try disk.zero(offset, 512 << 10)
      try image.commit()
      try disk.write([1], at: offset + 1000)
      #expect(try disk.read(offset, 1000).allSatisfy { $0 == 0 })
      #expect(try disk.read(offset + 1001, 5000).allSatisfy { $0 == 0 })
      try image.commit()
      try disk.write(full, at: offset)
    }
    #expect(try double.size() == size)
    for block in 0..<8 { try disk.zero(UInt64(block) << 19, 512 << 10) }
    try image.finishWriting()
    #expect(try double.size() == 12288)
  }

  /// A hole between blocks that an earlier session left is used again, and whatever lies in it is not shown.
  @Test func gapsAreFilledZeroed() throws {
    let (double, image, disk) = try CommitTests.newImage()
    try image.beginWriting()
    let full = [UInt8](repeating: 0xEE, count: 512 << 10)
    for block in 0..<6 { try disk.write(full, at: UInt64(block) << 19) }
    let place = try image.locate(2 << 19, limit: 1, mayWait: true).fileOffset - 512
    try disk.zero(2 << 19, 3 << 19)
    try image.finishWriting()
    let size = try double.size()
    let garbage = [UInt8](repeating: 0xAB, count: 3 * (512 << 10))
    try garbage.withUnsafeBytes { try double.file.write($0, at: place) }
    let again = try VHDImage(double.file)
    let other = SmallDisk([again])
    try again.beginWriting()
    for block in 10..<13 {
      try other.write([1], at: UInt64(block) << 19)
      let run = try again.locate(UInt64(block) << 19, limit: 1, mayWait: true)
      #expect(run.fileOffset > place && run.fileOffset < place + UInt64(garbage.count) + 3 * 4096)
      // Not even for readers that ignore bitmaps.
      let bytes = ByteBuffer(count: (512 << 10) - 1)
      try double.file.read(into: bytes.bytes, at: run.fileOffset + 1)
      #expect(bytes.readable.isAllZero)
    }
    try again.finishWriting()
    #expect(try double.size() == size)
  }

  /// Room that an operation may still be reading is not used for something else.
  @Test func freedRoomWaitsForReaders() throws {
    let (_, image, disk) = try CommitTests.newImage()
    try image.beginWriting()
    try disk.write([UInt8](repeating: 0xEE, count: 512 << 10), at: 0)
    try image.commit()
    let entered = image.gate.enter()
    let run = try image.locate(0, limit: 4096, mayWait: true)
    try disk.zero(0, 512 << 10)
    try image.commit()
    try image.commit()
    for block in 1..<40 { try disk.write([UInt8](repeating: 0x11, count: 4096), at: UInt64(block) << 19) }
    let buffer = ByteBuffer(count: 4096)
    try image.file.read(into: buffer.bytes, at: run.fileOffset)
    #expect(buffer.bytes.allSatisfy { $0 == 0xEE })
    image.gate.leave(entered)
    try image.commit()
    try image.file.read(into: buffer.bytes, at: run.fileOffset)
    #expect(!buffer.bytes.contains(0xEE))
  }

  /// A write that was under way when its whole block was zeroed does not come back into another block.
  @Test func lateCompletionIsIgnored() throws {
    let (_, image, disk) = try CommitTests.newImage()
    try image.beginWriting()
    let run = try image.prepareWrite(at: 4096, limit: 512, mayAllocate: true, mayWait: true)
    try disk.zero(0, 512 << 10)
    try disk.write([1], at: 512 << 10)
    try disk.write([2], at: 8192)
    try image.completeWrite(run)
    #expect(try disk.read(4096, 512).allSatisfy { $0 == 0 })
    // The block that was made anew holds the one byte and zeros.
    #expect(try disk.read(0, 512 << 10).count { $0 != 0 } == 1)
  }

  /// Nor does it speak of the block's new place, whose bits are its own.
  @Test func lateCompletionDoesNotFillTheNewPlace() throws {
    let (double, image, disk) = try CommitTests.newImage()
    try image.beginWriting()
    let run = try image.prepareWrite(at: 0, limit: 512 << 10, mayAllocate: true, mayWait: true)
    try disk.zero(0, 512 << 10)
    try disk.write([1], at: 0)
    try image.completeWrite(run)
    try disk.write([2], at: 100 * 512)
    try image.finishWriting()
    let again = SmallDisk([try VHDImage(double.file)])
    #expect(try again.read(0, 1) == [1])
    #expect(try again.read(100 * 512, 1) == [2])
  }

  /// Some writers end the file where the disk ends, inside of its last block: what follows there is the footer.
  @Test func lastBlockThatWasCut() throws {
    let size: UInt64 = (512 << 10) + 4096
    let (double, image, disk) = try CommitTests.newImage(size: size)
    try image.beginWriting()
    try disk.write([UInt8](repeating: 5, count: 4096), at: 512 << 10)
    try image.finishWriting()
    let end = try image.locate(512 << 10, limit: 4096, mayWait: true).fileOffset + 4096
    try double.file.resize(to: end)
    let footer = ByteBuffer(copying: image.search.bytes)
    try double.file.write(footer.readable, at: end)

    let cut = try VHDImage(double.file)
    #expect(cut.warnings == [])
    let cutDisk = SmallDisk([cut])
    #expect(try cutDisk.read(512 << 10, 4096) == [UInt8](repeating: 5, count: 4096))
    try cut.beginWriting()
    try cutDisk.zero(512 << 10, 4096)
    try cut.commit()
    try cut.commit()
    #expect(try VHDImage(double.file).warnings == [])
    #expect(try cutDisk.read(512 << 10, 4096) == [UInt8](repeating: 0, count: 4096))
    try cutDisk.write([6], at: 1000)
    try cutDisk.write([7], at: size - 1)
    try cut.finishWriting()
    let again = SmallDisk([try VHDImage(double.file)])
    #expect(try again.read(1000, 1) == [6])
    #expect(try again.read(size - 2, 2) == [0, 7])
    #expect(again.images[0].warnings == [])
  }

  @Test func fullHostCanBeTriedAgain() throws {
    let (double, image, disk) = try CommitTests.newImage()
    try image.beginWriting()
    var model = Model(size: 64 << 20)
    var workload = Workload(seed: 4)
    for round in 0..<60 {
      let (offset, length) = workload.range(64 << 20, 512 << 10)
      let bytes = pattern(Int(min(length, 5000)), &workload.generator)
      try disk.write(bytes, at: offset)
      model.write(bytes, at: offset)
      if round % 3 == 0 {
        try disk.zero(offset / 524288 * 524288, 524288)
        model.zero(offset / 524288 * 524288, 524288)
      }
      // Every write of the commit fails once, the flushes do not.
      for failing in 1..<40 {
        double.failFromNow(after: failing, with: .noSpace)
        do throws(ImageError) {
          try image.commit()
          double.failNoMore()
          break
        } catch {
          double.failNoMore()
          guard error.errno == .noSpace else { throw error }
          if !image.isWriting {
            Issue.record("refused after \(error)")
            return
          }
        }
      }
      #expect(!image.hasUncommittedChanges)
    }
    try image.finishWriting()
    #expect(same(try SmallDisk([try VHDImage(double.file)]).read(0, model.bytes.count), model.bytes))
  }

  /// After a failed flush nothing is written any more, and the reason is given.
  @Test func failedFlushEndsWriting() throws {
    let (double, image, disk) = try CommitTests.newImage()
    try image.beginWriting()
    try disk.write([1, 2, 3], at: 0)
    double.failFromNow(after: 0, with: .ioError)
    #expect(throws: ImageError.self) { try image.commit() }
    double.failNoMore()
    let before = double.position
    for attempt in 0..<3 {
      let error = #expect(throws: ImageError.self) {
        switch attempt {
        case 0: try disk.write([1], at: 5)
        case 1: try disk.zero(0, 4096)
        default: try image.commit()
        }
      }
      #expect(error?.sentence.contains("flush failed") == true)
      #expect(error?.errno == .ioError)
    }
    #expect(throws: ImageError.self) { try image.finishWriting() }
    #expect(throws: ImageError.self) { try image.beginWriting() }
    #expect(double.position == before)
    // What was there can still be read.
    #expect(try disk.read(0, 3) == [1, 2, 3])
  }

  @Test func nothingIsWrittenBeforeItBegins() throws {
    let (double, image, _) = try CommitTests.newImage()
    let run = try image.prepareWrite(at: 0, limit: 512, mayAllocate: true, mayWait: true)
    #expect(run.kind == .unknown)
    #expect(try image.zero(at: 0, limit: 512).kind == .unknown)
    try image.commit()
    try image.finishWriting()
    #expect(double.changeCount == 0)
    // But a flush is one: a program that was killed before it could flush may have written what is read here.
    #expect(double.position > 0)
    let readOnly = HostFile(path: "ro.vhd", double: double, isWritable: false)
    let error = #expect(throws: ImageError.self) { try VHDImage(readOnly).beginWriting() }
    #expect(error?.errno == .readOnlyFileSystem)
  }
}
