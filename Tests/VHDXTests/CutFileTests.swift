import Storage
import TestSupport
import Testing

@testable import VHDX

/// A file that was cut (a copy that was broken off), with a block table so long that it is looked through only in the
/// background: new blocks go where the file ends now, and blocks that are gone had their places there.
@Suite struct CutFileTests {
  private static let mebibyte: UInt64 = 1 << 20
  private static let table: UInt64 = 3 << 20

  /// A disk of 1 TiB in blocks of 1 MiB; block 3 is there with its first 1000 bytes, blocks 5 and 6 lay behind it.
  private func cutFile() throws -> (HostFile, end: UInt64) {
    let file = HostFile(path: "cut", double: RecordedFile())
    try VHDXImage.create(file, VHDXCreation(kind: .dynamic, virtualSize: 1 << 40, blockSize: Self.mebibyte))
    let end = try file.size()
    for (block, place) in [(3, end), (5, end + Self.mebibyte), (6, end + 2 * Self.mebibyte)]
      as [(UInt64, UInt64)]
    {
      let entry = BlockTableEntry(.fullyPresent, offset: place).rawValue
      try file.write(withUnsafeBytes(of: entry.littleEndian) { Array($0) }, at: Self.table + block * 8)
    }
    try file.resize(to: end + 1000)
    return (file, end)
  }

  private func write(_ image: VHDXImage, block: UInt64) throws -> UInt64 {
    let run = try image.prepareWrite(at: block << 20, limit: 4096, mayAllocate: true, mayWait: true)
    try image.file.write([UInt8](repeating: UInt8(block), count: 4096), at: run.fileOffset)
    try image.completeWrite(run)
    return run.fileOffset
  }

  @Test func whatWasCutNeverReadsAsWhatIsWrittenThere() throws {
    let (file, end) = try cutFile()
    let image = try VHDXImage(file)
    try image.beginWriting()
    #expect(try write(image, block: 9) >= end + Self.mebibyte)
    #expect(try write(image, block: 10) >= end + 2 * Self.mebibyte)
    try image.commit()
    for block: UInt64 in [5, 6] {
      #expect(throws: ImageError.self) { try image.locate(block << 20, limit: 512, mayWait: true) }
      #expect(throws: ImageError.self) { try write(image, block: block) }
      #expect(throws: ImageError.self) { try image.zero(at: block << 20, limit: 512) }
    }
    // Of a block that was cut in the middle the beginning is there.
    let run = try image.locate(3 << 20, limit: Self.mebibyte, mayWait: true)
    #expect(run.kind == .data && run.fileOffset == end && run.length == 1000)
    #expect(throws: ImageError.self) { try image.locate(3 << 20 + 1024, limit: 512, mayWait: true) }
    #expect(throws: ImageError.self) { try write(image, block: 3) }
    for block: UInt64 in [9, 10] {
      let run = try image.locate(block << 20, limit: 4096, mayWait: true)
      var bytes = [UInt8](repeating: 0, count: 4096)
      try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: run.fileOffset) }
      #expect(bytes == [UInt8](repeating: UInt8(block), count: 4096))
    }
  }

  @Test func theLookThroughTheTableFindsThem() throws {
    let (file, _) = try cutFile()
    let image = try VHDXImage(file)
    try image.beginWriting()
    _ = try write(image, block: 9)
    try image.commit()
    #expect(throws: ImageError.self) { try image.scanSpace() }
    #expect(throws: ImageError.self) { try write(image, block: 9) }
  }

  /// What this program has put behind the file's old end itself is no sign of a cut.
  @Test func anHonestFileIsLookedThrough() throws {
    let file = HostFile(path: "whole", double: RecordedFile())
    try VHDXImage.create(file, VHDXCreation(kind: .dynamic, virtualSize: 1 << 40, blockSize: Self.mebibyte))
    let image = try VHDXImage(file)
    for round: UInt64 in 0..<3 {
      try image.beginWriting()
      _ = try write(image, block: 9 + round)
      try image.commit()
      if round == 1 { try image.scanSpace() }
      _ = try write(image, block: 20 + round)
      try image.finishWriting()
      for block in 0...round {
        #expect(try image.locate((9 + block) << 20, limit: 4096, mayWait: true).kind == .data)
      }
    }
  }

  /// A commit writes the table page by page, and may end in the middle: what the session knows holds.
  @Test func aTableThatIsBeingWrittenIsNotDamaged() throws {
    let file = HostFile(path: "child", double: RecordedFile())
    let parent = ParentLocator(linkage: .random(), relativePath: ".\\parent.vhdx")
    try VHDXImage.create(
      file,
      VHDXCreation(
        kind: .differencing(parent: parent, inherited: []), virtualSize: 1 << 40, blockSize: Self.mebibyte))
    let image = try VHDXImage(file)
    try image.beginWriting()
    _ = try write(image, block: 9)
    try image.commit()
    #expect(try image.locate(9 << 20, limit: 4096, mayWait: true).kind == .data)
    let place = image.regions.blockTable.offset + image.geometry.bitmapIndex(chunk: 0) * 8
    var entry = [UInt8](repeating: 0, count: 8)
    try entry.withUnsafeMutableBytes { try file.read(into: $0, at: place) }
    #expect(entry != [UInt8](repeating: 0, count: 8), "the block is partly present, and has a bitmap")
    try file.write([UInt8](repeating: 0, count: 8), at: place)
    try image.scanSpace()
    _ = try write(image, block: 10)
    try image.finishWriting()
  }

  /// A bitmap that is made for a new block says of every other block of its chunk that the parent has it: those that
  /// are partly present, and whose bitmap is lost, must stay damaged, whether the table is long or short.
  @Test(arguments: [UInt64(1) << 40, 64 << 20])
  func noNewBitmapOverDamagedBlocks(_ size: UInt64) throws {
    let file = HostFile(path: "child", double: RecordedFile())
    let parent = ParentLocator(linkage: .random(), relativePath: ".\\parent.vhdx")
    try VHDXImage.create(
      file,
      VHDXCreation(
        kind: .differencing(parent: parent, inherited: []), virtualSize: size, blockSize: Self.mebibyte))
    let end = try file.size()
    let entry = BlockTableEntry(.partiallyPresent, offset: end).rawValue
    try file.write(withUnsafeBytes(of: entry.littleEndian) { Array($0) }, at: Self.table + 8 * 30)
    try file.resize(to: end + Self.mebibyte)
    let image = try VHDXImage(file)
    #expect(throws: ImageError.self) {
      try image.beginWriting()
      _ = try write(image, block: 9)
    }
    #expect(throws: ImageError.self) { try image.locate(30 << 20, limit: 512, mayWait: true) }
  }
}
