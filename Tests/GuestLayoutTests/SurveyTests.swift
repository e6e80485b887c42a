import Storage
import TestSupport
import Testing

@testable import GuestLayout

/// Whole disks: where volumes lie, what is recognized, and what makes all of a volume used.
struct SurveyTests {
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
    let (directory, path) = try partitionedDisk(script, size: "300M", volumes)
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

  @Test(.requiresPrograms("sfdisk", "mkfs.ext4"))
  func overlappingPartitionsAreAllUsed() throws {
    let volumes: [(start: UInt64, size: UInt64, make: [String])] = [
      (1 << 20, 16 << 20, ["mkfs.ext4", "-q", "-F"]), (20 << 20, 16 << 20, ["mkfs.ext4", "-q", "-F"]),
      (40 << 20, 16 << 20, ["mkfs.ext4", "-q", "-F"]),
    ]
    let (directory, path) = try partitionedDisk(
      "label: dos\nstart=2048, size=32768\nstart=40960, size=32768\nstart=81920, size=32768\n", size: "64M",
      volumes)
    _ = directory
    #expect(try SurveyedDisk(path).survey.volumes.allSatisfy { $0.freeSpace.obstacle == nil })
    // A fourth, which begins in the first; its content would do.
    let record = MasterBootRecordEntry(type: 0x83, first: 8192, count: 4096).bytes
    try OpenFile(path, 2).write(record, at: 446 + 48)
    let disk = try SurveyedDisk(path)
    #expect(
      disk.survey.volumes.map(\.freeSpace.obstacle?.kind) == [.contradictory, nil, nil, .contradictory])
    #expect(disk.free.allSatisfy { $0.lowerBound > 20 << 20 })
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
    (.lvm, 0, "HM\u{1}\0"), (.hfs, 1024, "H+\0\u{4}"), (.hfs, 1024, "BD"), (.apfs, 32, "NXSB"),
    (.vdo, 0, "dmvdo001"), (.stratis, 516, "!Stra0tis"), (.stratis, 4612, "!Stra0tis"),
    (.ocfs2, 1024, "OCFSV2"), (.ocfs2, 8192, "OCFSV2"), (.bluestore, 0, "bluestore block device"),
    (.reiserfs, 0x2034, "ReIsErFs"), (.befs, 544, "1SFB"), (.iso9660, 0x8001, "CD001"),
    (.udf, 0x8801, "NSR03"), (.squashfs, 0, "hsqs"), (.diskLabel, 512, "EFI PART"),
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

  @Test(
    arguments: [
      (GuestFileSystem.ufs, 8192 + 1372, [0x54, 0x19, 0x01, 0x00]),
      (.ufs, 8192 + 1372, [0x00, 0x01, 0x19, 0x54]),
      (.ufs, 65536 + 1372, [0x19, 0x01, 0x54, 0x19]), (.ufs, 262144 + 1372, [0x19, 0x54, 0x01, 0x19]),
      (.vmfs, 1 << 20, [0x0D, 0xD0, 0x01, 0xC0]), (.vmfs, 2 << 20, [0x5E, 0xF1, 0xAB, 0x2F]),
      (.nilfs2, 1024, [2, 0, 0, 0, 0, 0, 0x34, 0x34]), (.gfs2, 0x10000, [0x01, 0x16, 0x19, 0x70]),
      (.bcachefs, 4120, [0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9]),
      (.bcache, 4120, [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA]),
      (.luks, 0x4000, [0x53, 0x4B, 0x55, 0x4C, 0xBA, 0xBE]), (.f2fs, 5120, [0x10, 0x20, 0xF5, 0xF2]),
      (.vxfs, 1024, [0xF5, 0xFC, 0x01, 0xA5]), (.hpfs, 8192, [0x49, 0xE8, 0x95, 0xF9]),
      (.erofs, 1024, [0xE2, 0xE1, 0xF5, 0xE0]), (.diskLabel, 524, [0xEE, 0xDE, 0x0D, 0x60]),
      (.zfs, (128 << 10) + 4096, [0x0C, 0xB1, 0xBA, 0, 0, 0, 0, 0]),
      (.zfs, (64 << 20) - (128 << 10), [0, 0, 0, 0, 0, 0xBA, 0xB1, 0x0C]),
      (.drbd, (64 << 20) - 4096 + 60, [0x83, 0x74, 0x02, 0x6B]),
      (.raid, (64 << 20) - 512, [0xDE, 0x11, 0xDE, 0x11]),
      (.raid, (64 << 20) - 65536, [0xA9, 0x2B, 0x4E, 0xFC]),
    ] as [(GuestFileSystem, UInt64, [UInt8])])
  func marksOfOthersBesideSwapAreContradictory(system: GuestFileSystem, offset: UInt64, mark: [UInt8]) throws
  {
    var disk = DiskInMemory(size: 64 << 20)
    disk.stretches[offset] = mark
    let alone = try #require(try disk.survey().volumes.first)
    #expect(alone.fileSystem == system && alone.freeSpace.obstacle != nil)
    // Written over what the swap area has there.
    disk.putSwap(at: 0, pages: 16000)
    if offset == 1024 { disk.stretches[1024] = [1, 0, 0, 0, 0, 0, 0, 0] }
    disk.stretches[offset] = mark
    let both = try #require(try disk.survey().volumes.first)
    #expect(both.freeSpace.obstacle?.kind == (system == .luks ? .encrypted : .contradictory))
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
