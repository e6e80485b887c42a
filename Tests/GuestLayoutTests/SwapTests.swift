import TestSupport
import Testing

@testable import GuestLayout

/// Swap areas made by mkswap, which says how much of each can be used; and the marks of a system that sleeps.
struct SwapTests {
  @Test(.requiresPrograms("mkswap"), arguments: [4096, 8192, 16384, 65536])
  func allButTheHeaderIsFree(pageSize: UInt64) throws {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: "33M")
    let output = try runChecked(["mkswap", "-p", String(pageSize), path])
    // "Setting up swapspace version 1, size = 33 MiB (34598912 bytes)"
    let said = output.split(separator: "(").last.flatMap { UInt64($0.prefix { $0.isNumber }) }
    let disk = try SurveyedDisk(path)
    #expect(try disk.volume.fileSystem == .swap)
    #expect(disk.free == [pageSize..<33 << 20])
    #expect(said == disk.survey.freeBytes)
  }

  @Test(.requiresPrograms("mkswap"))
  func badPagesAndWhatLiesBeyondAreUsed() throws {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: "1M")
    try runChecked(["mkswap", path])
    let file = try OpenFile(path, 2)
    // The last page is 200; pages 5, 1 and 6 are bad.
    try file.write([200, 0, 0, 0, 3, 0, 0, 0], at: 1028)
    try file.write([5, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0], at: 1536)
    let pages: [Range<UInt64>] = [2..<5, 7..<201]
    #expect(try SurveyedDisk(path).free == pages.map { $0.lowerBound * 4096..<$0.upperBound * 4096 })
    for wrong: (UInt64, [UInt8]) in [
      (1024, [2]), (1028, [0, 1]), (1032, [0xFF, 0xFF]), (1536, [201]), (1536, [0]),
    ] {
      let before = try file.read(at: wrong.0, count: wrong.1.count)
      try file.write(wrong.1, at: wrong.0)
      let disk = try SurveyedDisk(path)
      #expect(disk.free.isEmpty, "\(wrong)")
      #expect(try disk.volume.freeSpace.obstacle != nil)
      try file.write(before, at: wrong.0)
    }
  }

  /// Version 0, which nothing makes any more.
  @Test func oldAreasAreUsed() throws {
    var disk = DiskInMemory(size: 1 << 20)
    disk.stretches[0] = [0b1110_1111, 0xFF, 0x0F, 0xFF]
    disk.stretches[4086] = Array("SWAP-SPACE".utf8)
    let volume = try #require(try disk.survey().volumes.first)
    #expect(volume.fileSystem == .swap && volume.freeSpace.obstacle?.kind == .unsupported)
  }

  @Test(
    .requiresPrograms("mkswap"), arguments: ["S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"],
    [4096, 65536])
  func aSystemThatSleepsMakesAllOfTheDiskUsed(mark: String, pageSize: UInt64) throws {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: "64M")
    try runChecked(
      ["sfdisk", "-q", "--no-reread", "--no-tell-kernel", path],
      input: Array("label: dos\nstart=2048, size=65536, type=82\nstart=67584, type=82\n".utf8))
    for (start, size) in [(1 << 20, 32 << 20), (33 << 20, 31 << 20)] as [(UInt64, UInt64)] {
      let area = try newDisk(directory, size: String(size), name: "area")
      try runChecked(["mkswap", "-p", String(pageSize), area])
      try runChecked([
        "dd", "if=\(area)", "of=\(path)", "bs=64K", "conv=notrunc", "seek=\(start >> 16)", "status=none",
      ])
    }
    let all: UInt64 = 63 << 20
    #expect(try SurveyedDisk(path).survey.freeBytes == all - 2 * pageSize)
    let end = (1 << 20) + pageSize
    try OpenFile(path, 2).write(Array(mark.utf8), at: end - 10)
    let disk = try SurveyedDisk(path)
    #expect(disk.free.isEmpty)
    #expect(disk.survey.volumes.map(\.fileSystem) == [.swap, .swap])
    #expect(disk.survey.volumes.map(\.freeSpace.obstacle?.kind) == [.hibernated, .hibernated])
  }
}
