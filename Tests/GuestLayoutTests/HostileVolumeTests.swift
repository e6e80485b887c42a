import Storage
import TestSupport
import Testing

@testable import GuestLayout

/// The bounds that no volume gets beyond.
struct HostileVolumeTests {
  private func runs(_ pairs: [UInt8], clusters: UInt64 = 1 << 20) throws -> NTFSRunList {
    var list = NTFSRunList()
    try list.append(pairs[...], volumeClusters: clusters)
    return list
  }

  @Test func runListsAreBounded() throws {
    let one: [UInt8] = [0x11, 1, 1]
    let most = [[UInt8]](repeating: one, count: NTFSRunList.mostRuns).flatMap { $0 }
    #expect(try runs(most).runs.count == NTFSRunList.mostRuns)
    #expect(throws: SurveyStop.self) { try runs(most + one) }
  }

  @Test(arguments: [
    [0x10, 1, 1], [0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [0x91, 1], [0x11, 0, 1], [0x11, 0xFF, 1], [0x11, 1],
    [0x11, 1, 0xFF], [0x41, 1, 0, 0, 0, 1], [0x21, 16, 0xF8, 0x0F], [0x11, 8, 1, 0x11, 8, 0xFE],
    [0x88, 1, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0, 0, 0, 0, 0, 0],
  ])
  func runListsThatCannotBe(pairs: [Int]) {
    #expect(throws: SurveyStop.self) { try runs(pairs.map { UInt8($0) }, clusters: 0xFFF) }
  }

  @Test func runListsSayWhereBytesAre() throws {
    let list = try runs([0x21, 8, 0x00, 0x01, 0x01, 4, 0x11, 2, 0xF0, 0, 0x11, 1, 1])
    #expect(
      list.runs == [
        .init(virtual: 0, start: 256, count: 8), .init(virtual: 8, start: nil, count: 4),
        .init(virtual: 12, start: 240, count: 2),
      ])
    #expect(list.clusterCount == 14 && list.hasHoles)
  }

  @Test func disksLargerThanAnyAreUsed() throws {
    for size in [1 << 62, (1 << 62) + 1, .max] as [UInt64] {
      var disk = DiskInMemory(size: size)
      disk.putSwap(at: 0, pages: 1000)
      #expect(try disk.survey().freeBytes == (size == 1 << 62 ? 999 * 4096 : 0))
    }
  }

  /// Groups far smaller than their bitmaps: a small superblock would ask for terabytes of them.
  @Test(.requiresPrograms("mke2fs")) func bitmapsOfExtAreBounded() throws {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: "1M")
    try runChecked(["mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", "-N", "16", path])
    try runChecked(["truncate", "-s", "3T", path])
    let file = try OpenFile(path, 2)
    // 3,000,000,000 blocks of 1 KiB in groups of 256.
    try file.write([0x00, 0x5E, 0xD0, 0xB2], at: 1024 + 0x04)
    try file.write([0, 1, 0, 0, 0, 1, 0, 0], at: 1024 + 0x20)
    let start = ContinuousClock.now
    #expect(try SurveyedDisk(path).volume.freeSpace.obstacle?.kind == .unsupported)
    #expect(ContinuousClock.now - start < .seconds(5))
  }

  /// No read is longer than 1 MiB, whatever the size of the bitmaps.
  @Test(
    .requiresPrograms("mkntfs", "mke2fs"),
    arguments: [["mkntfs", "-q", "-F", "-f", "-c", "512"], ["mke2fs", "-q", "-F"]])
  func readsAreShort(command: [String]) throws {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: "9G")
    try runChecked(command + [path])
    let file = try OpenFile(path)
    var longest = 0
    let survey = try SpaceSurvey.read(diskSize: file.size, sectorSize: 512) {
      (offset, count) throws(ImageError) in
      longest = max(longest, count)
      return (try? file.read(at: offset, count: count)) ?? []
    }
    #expect(survey.freeBytes > 0)
    #expect(longest <= 1 << 20)
  }
}
