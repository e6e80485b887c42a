import Storage
import TestSupport
import Testing

@testable import GuestLayout

/// Whole disks: where volumes lie, what is recognized, and what makes all of a volume used.
struct SurveyTests {
  /// A disk with a table, and file systems made in files of their own put in its places.
  private func disk(
    _ script: String, size: String, _ volumes: [(start: UInt64, size: UInt64, make: [String])]
  ) throws -> (
    TemporaryDirectory, String
  ) {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: size)
    try runChecked(["sfdisk", "-q", "--no-reread", "--no-tell-kernel", path], input: Array(script.utf8))
    for (start, size, make) in volumes {
      let volume = try newDisk(directory, size: String(size), name: "volume")
      try runChecked(make + [volume])
      try runChecked(
        [
          "dd", "if=\(volume)", "of=\(path)", "bs=1M", "seek=\(start >> 20)", "conv=notrunc,sparse",
          "status=none",
        ])
      try runChecked(["rm", volume])
    }
    return (directory, path)
  }

  static let tables = [
    "label: gpt\nstart=1MiB, size=64MiB\nstart=65MiB, size=64MiB\nstart=200MiB, size=32MiB\n",
    "label: dos\nstart=2048, size=131072, type=83\nstart=133120, size=131072, type=7\n"
      + "start=400000, size=100000, type=5\nstart=409600, size=65536, type=82\n",
  ]

  @Test(.requiresPrograms("sfdisk", "mkfs.ext4", "mkntfs", "mkswap"), arguments: tables)
  func partitionsAreSurveyedInTheirPlaces(script: String) throws {
    let volumes: [(start: UInt64, size: UInt64, make: [String])] = [
      (1 << 20, 64 << 20, ["mkfs.ext4", "-q", "-F"]), (65 << 20, 64 << 20, ["mkntfs", "-q", "-F", "-f"]),
      (200 << 20, 32 << 20, ["mkswap", "-q"]),
    ]
    let (directory, path) = try disk(script, size: "300M", volumes)
    let disk = try SurveyedDisk(path)
    #expect(disk.survey.volumes.map(\.fileSystem) == [.ext4, .ntfs, .swap])
    #expect(disk.survey.volumes.map(\.range.lowerBound) == volumes.map(\.start))
    #expect(disk.survey.volumes.allSatisfy { $0.freeSpace.obstacle == nil })
    var expected: [Range<UInt64>] = []
    for (start, size, _) in volumes {
      let copy = directory.file("copy")
      try runChecked(
        [
          "dd", "if=\(path)", "of=\(copy)", "bs=1M", "skip=\(start >> 20)", "count=\(size >> 20)",
          "status=none",
        ])
      expected += try SurveyedDisk(copy).free.map { start + $0.lowerBound..<start + $0.upperBound }
    }
    #expect(disk.free == expected)
    // From anywhere the cursor gives what is left there.
    let file = try OpenFile(path)
    var cursor = FreeRangeCursor(disk.survey) { (offset, count) throws(ImageError) in
      (try? file.read(at: offset, count: count)) ?? []
    }
    var generator = SeededGenerator(seed: 3)
    for _ in 0..<300 {
      let place = UInt64.random(in: 0..<301 << 20, using: &generator)
      let wanted = disk.free.first { $0.upperBound > place }.map { max($0.lowerBound, place)..<$0.upperBound }
      #expect(try cursor.next(from: place) == wanted)
    }
  }

  @Test func overlappingPartitionsAreAllUsed() throws {
    var disk = DiskInMemory(size: 64 << 20)
    disk.putRecord(
      at: 0, [(0x83, 2048, 20_000), (0x82, 4096, 4096), (0x82, 40_000, 8192), (0x82, 60_000, 8192)])
    for start in [4096, 40_000, 60_000] as [UInt64] { disk.putSwap(at: start * 512, pages: 1024) }
    let survey = try disk.survey()
    #expect(survey.volumes.map(\.freeSpace.obstacle?.kind) == [.contradictory, .contradictory, nil, nil])
    #expect(survey.freeBytes == 2 * 1023 * 4096)
  }

  @Test func partitionsOverTheTableAreUsed() throws {
    var disk = DiskInMemory(size: 64 << 20)
    disk.putRecord(at: 0, [(0x82, 0, 8192), (0x05, 20_000, 20_000), (0x82, 19_000, 8192)])
    disk.putRecord(at: 20_000, [(0x82, 100, 8192)])
    for start in [0, 19_000, 20_100] as [UInt64] { disk.putSwap(at: start * 512, pages: 1024) }
    let survey = try disk.survey()
    #expect(survey.volumes.map(\.number) == [1, 3, 5])
    #expect(survey.volumes.allSatisfy { $0.freeSpace.obstacle?.kind == .contradictory })
  }

  @Test(arguments: [
    (GuestFileSystem.xfs, 0, "XFSB"), (.btrfs, 0x10040, "_BHRfS_M"), (.exfat, 3, "EXFAT   "),
    (.refs, 3, "ReFS\0\0\0\0"),
    (.bitlocker, 3, "-FVE-FS-"), (.lvm, 512, "LABELONE"), (.fat, 54, "FAT16   "), (.jfs, 0x8000, "JFS1"),
  ])
  func othersAreRecognizedAndUsed(system: GuestFileSystem, offset: UInt64, mark: String) throws {
    var disk = DiskInMemory(size: 64 << 20)
    disk.stretches[offset] = Array(mark.utf8)
    let volume = try #require(try disk.survey().volumes.first)
    #expect(volume.fileSystem == system)
    #expect(volume.freeSpace.obstacle?.kind == (system == .bitlocker ? .encrypted : .unsupported))
    // Beside it the mark of a swap area: one of them is a lie, or both are.
    disk.putSwap(at: 0, pages: 1000)
    disk.stretches[offset] = Array(mark.utf8)
    let both = try #require(try disk.survey().volumes.first)
    #expect(both.freeSpace.obstacle?.kind == (system == .bitlocker ? .encrypted : .contradictory))
  }

  /// Made by the programs themselves.
  @Test(
    .requiresPrograms("mkfs.fat", "mkfs.xfs"),
    arguments: [
      (GuestFileSystem.fat, ["mkfs.fat"]), (.fat, ["mkfs.fat", "-F", "32"]),
      (.xfs, ["mkfs.xfs", "-q", "-f"]),
    ])
  func othersMadeByTheirPrograms(system: GuestFileSystem, command: [String]) throws {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: "400M")
    try runChecked(command + [path])
    let disk = try SurveyedDisk(path)
    #expect(try disk.volume.fileSystem == system)
    #expect(try disk.volume.freeSpace.obstacle?.kind == .unsupported)
  }

  /// Linux RAID keeps its superblock at the end, and its members look like the file system inside.
  @Test(arguments: [63 << 20, (64 << 20) - 65536, (64 << 20) - 8192, 4096] as [UInt64])
  func membersOfARAIDAreUsed(place: UInt64) throws {
    var disk = DiskInMemory(size: 64 << 20)
    disk.putSwap(at: 0, pages: 1000)
    disk.stretches[place] = [0xFC, 0x4E, 0x2B, 0xA9]
    let obstacle = try disk.survey().volumes.first?.freeSpace.obstacle
    #expect((obstacle != nil) == (place != 63 << 20))
  }

  @Test(arguments: [0x42, 0x8E, 0xFD] as [UInt8])
  func typesOfPartitionsThatArePartsOfSomethingLarger(type: UInt8) throws {
    var disk = DiskInMemory(size: 64 << 20)
    disk.putRecord(at: 0, [(type, 2048, 20_000)])
    disk.putSwap(at: 1 << 20, pages: 1000)
    #expect(try disk.survey().volumes.map(\.freeSpace.obstacle?.kind) == [.unsupported])
  }

  @Test func anErrorOfTheReaderPassesThrough() throws {
    var disk = DiskInMemory(size: 64 << 20)
    disk.putSwap(at: 0, pages: 1000)
    let wanted = ImageError(errno: .ioError, "that disk is broken")
    for failing in 0..<20 {
      var reads = 0
      do throws(ImageError) {
        _ = try SpaceSurvey.read(diskSize: disk.size, sectorSize: 512) { (offset, count) throws(ImageError) in
          reads += 1
          if reads > failing { throw wanted }
          return (try? disk.read(at: offset, count: count)) ?? []
        }
        #expect(failing >= 5)
      } catch {
        #expect(error.sentence == wanted.sentence && failing < 20)
      }
    }
  }

  @Test(arguments: [0, 1, 511, 512, 4095, 4096, 70_000] as [UInt64])
  func smallDisksHaveNoFreeSpace(size: UInt64) throws {
    #expect(try DiskInMemory(size: size).survey().freeBytes == 0)
  }
}

extension DiskInMemory {
  /// The survey; that nothing outside the disk is asked for is checked by the error.
  func survey() throws -> SpaceSurvey {
    try SpaceSurvey.read(diskSize: size, sectorSize: sectorSize) { (offset, count) throws(ImageError) in
      do { return try read(at: offset, count: count) } catch {
        throw ImageError(.failed, "\(count) bytes at \(offset) of a disk of \(size)")
      }
    }
  }

  /// A swap area of so many pages of 4 KiB, the header among them.
  mutating func putSwap(at place: UInt64, pages: UInt32) {
    let last = pages - 1
    stretches[place + 1024] =
      [1, 0, 0, 0] + (0..<4).map { UInt8(truncatingIfNeeded: last >> UInt32(8 * $0)) }
    stretches[place + 4086] = Array("SWAPSPACE2".utf8)
  }
}
