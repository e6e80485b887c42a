import Storage
import SystemPackage
import TestSupport
import Testing
import VHD

@Suite("A VHD's footer that cannot be moved")
struct FooterMoveTests {
  static let size = UInt64(4 << 20)

  /// An image to which a first block is going to be added, with what its file holds.
  static func image() throws -> (image: VHDImage, file: RecordedFile, before: SparseBytes) {
    let file = RecordedFile()
    try VHDImage.create(
      HostFile(path: "new", double: file),
      VHDCreation(kind: .dynamic, virtualSize: size, blockSize: 512 << 10))
    let image = try VHDImage(HostFile(path: "new", double: file))
    try image.beginWriting()
    return (image, file, file.contents)
  }

  static func write(_ image: VHDImage, _ bytes: [UInt8]) throws {
    let run = try image.prepareWrite(at: 0, limit: UInt64(bytes.count), mayAllocate: true, mayWait: true)
    try #require(run.length == bytes.count)
    try image.file.write(bytes, at: run.fileOffset)
    try image.completeWrite(run)
  }

  /// The last sector of the file.
  static func footer(_ contents: SparseBytes) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 512)
    _ = bytes.withUnsafeMutableBytes { contents.read(into: $0, at: contents.size - 512) }
    return bytes
  }

  /// A write may stop anywhere: at a limit of the file's size, at a quota.
  @Test("The file ends with the old one again", arguments: [0, 1, 100, 511], [Errno.noSpace, .fileTooLarge])
  func endsWithTheOldFooter(_ count: Int, _ code: Errno) throws {
    let (image, file, before) = try FooterMoveTests.image()
    file.follow(RecordedFile.FaultPlan([.write], first: 0, .failsAfter(count, code)))
    let error = #expect(throws: ImageError.self) { try FooterMoveTests.write(image, [1, 2, 3, 4]) }
    #expect(error?.errno == code && file.failedCount == 1)
    #expect(file.contents.size == before.size)
    #expect(FooterMoveTests.footer(file.contents) == FooterMoveTests.footer(before))
    #expect(try VHDImage(HostFile(path: "left", double: RecordedFile(file.contents))).validate().isClean)
    // It goes on when there is room again.
    file.clearFaults()
    let bytes = pattern(seed: 1, count: 4096)
    try FooterMoveTests.write(image, bytes)
    try image.finishWriting()
    let closed = try VHDImage(HostFile(path: "closed", double: RecordedFile(file.contents)))
    #expect(try closed.validate().isClean)
    #expect(try SmallDisk([closed]).read(0, 4096) == bytes)
  }

  @Test("Where not even that can be done, the copy at the beginning serves")
  func copyServes() throws {
    let (image, file, before) = try FooterMoveTests.image()
    file.follow(
      RecordedFile.FaultPlan([.write, .resize], first: 0, lasts: true, .failsAfter(100, .ioError)))
    #expect(throws: ImageError.self) { try FooterMoveTests.write(image, [1, 2, 3, 4]) }
    #expect(file.contents.size > before.size)
    let left = RecordedFile(file.contents)
    let next = try VHDImage(HostFile(path: "left", double: left))
    #expect(next.virtualSize == FooterMoveTests.size)
    try next.beginWriting()
    #expect(FooterMoveTests.footer(left.contents) == FooterMoveTests.footer(before))
  }
}
