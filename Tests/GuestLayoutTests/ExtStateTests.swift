import TestSupport
import Testing

@testable import GuestLayout

/// Ext file systems that were not closed, or whose structures lie.
@Suite(.requiresPrograms("mke2fs"))
struct ExtStateTests {
  /// Without checksums, so that a lie is nothing but what it says. Blocks of 1 KiB, groups of 8192 blocks.
  private static let plain = ["-t", "ext3", "-b", "1024", "-O", "^resize_inode"]

  private func disk(_ options: [String] = plain, size: String = "40M") throws -> (
    TemporaryDirectory, OpenFile
  ) {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: size)
    try runChecked(["mke2fs", "-q", "-F"] + options + [path])
    return (directory, try OpenFile(path, 2))
  }

  private func expect(
    _ kind: SpaceObstacle.Kind, _ file: OpenFile, at offset: UInt64, _ bytes: [UInt8],
    _ location: SourceLocation = #_sourceLocation
  ) throws {
    let before = try file.read(at: offset, count: bytes.count)
    try file.write(bytes, at: offset)
    let disk = try SurveyedDisk(file.path)
    let found = try disk.volume.freeSpace.obstacle
    #expect(
      found?.kind == kind, "\(offset): \(bytes): \(String(describing: found))", sourceLocation: location)
    #expect(disk.free.isEmpty, sourceLocation: location)
    try file.write(before, at: offset)
  }

  @Test func whatIsNotClosedIsDirty() throws {
    let (directory, file) = try disk()
    _ = directory
    try expect(.dirty, file, at: 1024 + 0x3A, [0, 0])
    try expect(.dirty, file, at: 1024 + 0x3A, [3, 0])
    try expect(.dirty, file, at: 1024 + 0x3A, [5, 0])
    // needs_recovery beside the other incompatible features, orphan_present beside the read-only compatible.
    try expect(.dirty, file, at: 1024 + 0x60, [2 | 4])
    try expect(.dirty, file, at: 1024 + 0x66, [1])
    try expect(.dirty, file, at: 1024 + 0xE8, [12, 0, 0, 0])
    try expect(.dirty, file, at: 1024 + 0x194, [1, 0, 0, 0])
    // The journal on another device.
    try expect(.dirty, file, at: 1024 + 0xE0, [0])
    #expect(try SurveyedDisk(file.path).volume.freeSpace.obstacle == nil)
  }

  @Test(.requiresPrograms("debugfs"), arguments: [["-t", "ext3"], ["-t", "ext4"]])
  func aJournalThatIsNotEmptyIsDirtyWhateverTheSuperblockSays(options: [String]) throws {
    let (directory, file) = try disk(options)
    _ = directory
    let output = try runChecked(["debugfs", "-R", "bmap <8> 0", file.path])
    let block = try #require(UInt64(output.filter(\.isNumber)))
    let size = UInt64(1024) << UInt64(try file.read(at: 1024 + 0x18, count: 1)[0])
    try expect(.dirty, file, at: block * size + 0x1C, [0, 0, 0, 1])
    try expect(.dirty, file, at: block * size + 0x20, [0xFF, 0xFF, 0xFF, 0xFB])
    try expect(.damaged, file, at: block * size, [0])
  }

  @Test func unknownFeaturesMakeAllUsed() throws {
    let (directory, file) = try disk()
    _ = directory
    for bit in 0..<32 {
      for (offset, known) in [
        (0x5C, ExtFeatures.knownCompatible), (0x60, ExtFeatures.knownIncompatible),
        (0x64, ExtFeatures.knownReadOnlyCompatible),
      ] as [(UInt64, UInt32)] where known >> UInt32(bit) & 1 == 0 {
        let place = 1024 + offset + UInt64(bit / 8)
        let before = try file.read(at: place, count: 1)[0]
        try expect(.unsupported, file, at: place, [before | 1 << UInt8(bit % 8)])
      }
    }
    try expect(.unsupported, file, at: 1024 + 0x4C, [2])
  }

  @Test func numbersThatCannotBeAreDamage() throws {
    let (directory, file) = try disk()
    _ = directory
    for (offset, bytes) in [
      (0x04, [0, 0, 0, 0]), (0x04, [1, 160, 0, 0]), (0x14, [0]), (0x14, [2]), (0x18, [7]), (0x18, [0xFF]),
      (0x1C, [1]),
      (0x20, [0, 0]), (0x20, [8, 0x20]), (0x24, [0, 0]), (0x28, [0, 0, 0, 0]), (0x28, [0, 0, 0, 1]),
      (0x58, [0, 0]),
      (0x58, [100, 0]), (0x58, [0, 64]), (0xE0, [0xFF, 0xFF]), (0xE0, [2]),
    ] as [(UInt64, [UInt8])] {
      try expect(.damaged, file, at: 1024 + offset, bytes)
    }
  }

  @Test func aFileSystemMayBeSmallerThanItsPlaceAndNotLarger() throws {
    let (directory, file) = try disk()
    _ = directory
    try runChecked(["truncate", "-s", "60M", file.path])
    let whole = try SurveyedDisk(file.path)
    #expect(try whole.free == freeBlocks(file.path))
    #expect(whole.free.allSatisfy { $0.upperBound <= 40 << 20 })
    try runChecked(["truncate", "-s", String((40 << 20) - 1), file.path])
    #expect(try SurveyedDisk(file.path).volume.freeSpace.obstacle?.kind == .damaged)
  }

  /// One bit of a bitmap, so that the group no longer has as many free blocks as its descriptor says.
  @Test(arguments: [plain, ["-t", "ext4", "-b", "1024"]])
  func aGroupThatContradictsItselfIsAllUsed(options: [String]) throws {
    let (directory, file) = try disk(options)
    _ = directory
    let before = try SurveyedDisk(file.path)
    // The last one always has a bitmap. Descriptors begin in block 2, with the number of the block bitmap.
    let group: Range<UInt64> = 32769 << 10..<40960 << 10
    let descriptorSize: UInt64 = options.contains("ext4") ? 64 : 32
    let bitmap =
      UInt64(try file.read(at: 2048 + 4 * descriptorSize, count: 4).little(UInt32.self, at: 0)) << 10
    let byte = try file.read(at: bitmap + 900, count: 1)[0]
    try file.write([byte ^ 0x10], at: bitmap + 900)
    let after = try SurveyedDisk(file.path)
    let volume = try after.volume
    #expect(volume.freeSpace.obstacle == nil)
    #expect(volume.notes == ["1 of 5 block groups have damaged bitmaps and count as used"])
    #expect(!after.free.contains { $0.overlaps(group) })
    // The other free ranges are what they were; one may have gone on into it.
    let others = before.free.map { $0.clamped(to: 0..<group.lowerBound) }.filter { !$0.isEmpty }
    #expect(after.free == others)
    #expect(after.survey.freeBytes < before.survey.freeBytes)
  }

  /// Each structure of the file system, called free by the bitmap, with the number of free blocks to match.
  @Test func structuresThatAreCalledFreeAreDamage() throws {
    let (directory, file) = try disk()
    _ = directory
    let descriptor = try file.read(at: 2048, count: 32)
    let bitmap = UInt64(descriptor.little(UInt32.self, at: 0))
    let others = [
      UInt64(descriptor.little(UInt32.self, at: 4)), UInt64(descriptor.little(UInt32.self, at: 8)) + 7,
    ]
    let free = descriptor.little(UInt16.self, at: 12) + 1
    for block in [1, 2, bitmap] + others {
      let bit = block - 1
      let place = bitmap << 10 + bit / 8
      let byte = try file.read(at: place, count: 1)[0]
      try file.write([UInt8(truncatingIfNeeded: free), UInt8(free >> 8)], at: 2048 + 12)
      try expect(.damaged, file, at: place, [byte & ~(1 << UInt8(bit % 8))])
    }
  }

  /// With checksums, no single bit of the superblock or a descriptor can change unnoticed.
  @Test(arguments: [
    ["-t", "ext4", "-b", "4096"], ["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,uninit_bg"],
  ])
  func changedBitsAreNoticed(options: [String]) throws {
    let (directory, file) = try disk(options, size: "300M")
    _ = directory
    let whole = try SurveyedDisk(file.path).survey.freeBytes
    let blockSize = UInt64(1024) << UInt64(try file.read(at: 1024 + 0x18, count: 1)[0])
    var places: [UInt64] = (0..<60 as Range<UInt64>).map { blockSize + $0 * 2 + $0 % 2 }
    if !options.contains("-O") { places += (0..<200 as Range<UInt64>).map { 1024 + $0 * 5 } }
    for place in places {
      let before = try file.read(at: place, count: 1)
      try file.write([before[0] ^ 1 << UInt8(place % 8)], at: place)
      let disk = try SurveyedDisk(file.path)
      let isSeen = try disk.volume.freeSpace.obstacle != nil || disk.volume.fileSystem != .ext4
      #expect(isSeen && disk.free.isEmpty, "byte \(place)")
      try file.write(before, at: place)
    }
    #expect(try SurveyedDisk(file.path).survey.freeBytes == whole)
  }

  @Test func aJournalDeviceIsNoFileSystem() throws {
    let (directory, file) = try disk(["-O", "journal_dev"])
    _ = directory
    #expect(try SurveyedDisk(file.path).volume.freeSpace.obstacle?.kind == .unsupported)
  }

  /// The kernel's own work: files written and removed, space trimmed, and what is seen of it while it is mounted.
  @Test(
    .requiresLoopDevice, .requiresPrograms("dumpe2fs", "e2fsck"),
    arguments: [
      ["-t", "ext4"], ["-t", "ext4", "-O", "bigalloc"], ["-t", "ext2"],
      ["-t", "ext4", "-O", "^metadata_csum"],
    ])
  func writtenByTheKernel(options: [String]) throws {
    let (directory, file) = try disk(options, size: "200M")
    let mounted = try MountedFileSystem(file.path, at: directory.directory("mounted"), ["-o", "loop"])
    for index in 0..<60 {
      try writeFile("\(mounted.path)/\(index)", pattern(seed: UInt64(index), count: 1000 + index * 20_000))
    }
    for index in stride(from: 0, to: 60, by: 3) { try runChecked(["rm", "\(mounted.path)/\(index)"]) }
    try runChecked(["sync", "-f", mounted.path])
    let copy = directory.file("copy")
    try runChecked(["cp", "--sparse=always", file.path, copy])
    #expect(try SurveyedDisk(copy).volume.freeSpace.obstacle?.kind == .dirty)
    try mounted.unmount()
    let disk = try SurveyedDisk(file.path)
    #expect(try disk.volume.freeSpace.obstacle == nil)
    #expect(try disk.free == freeBlocks(file.path))
    try disk.overwriteFree()
    #expect(try run(["e2fsck", "-fn", file.path]).succeeded)
    let again = try MountedFileSystem(file.path, at: directory.directory("mounted"), ["-o", "loop,ro"])
    for index in 0..<60 where index % 3 != 0 {
      let read = try OpenFile("\(again.path)/\(index)").read(at: 0, count: 2 << 20)
      #expect(same(read, pattern(seed: UInt64(index), count: 1000 + index * 20_000)))
    }
    try again.unmount()
  }

  /// Grown and shrunk afterwards: descriptors in room that was kept for them, and meta block groups behind it.
  @Test(.requiresPrograms("resize2fs", "dumpe2fs", "e2fsck"), arguments: ["900M", "3G", "60M"])
  func resized(size: String) throws {
    // resize2fs itself leaves a wrong resize inode where it shrinks one.
    let room = size == "60M" ? ["-O", "^resize_inode"] : ["-E", "resize=400000"]
    let (directory, file) = try disk(["-t", "ext4", "-b", "1024"] + room, size: "200M")
    _ = directory
    try runChecked(["e2fsck", "-fy", file.path])
    if size != "60M" { try runChecked(["truncate", "-s", size, file.path]) }
    try runChecked(["resize2fs", file.path, size])
    let disk = try SurveyedDisk(file.path)
    #expect(try disk.volume.freeSpace.obstacle == nil)
    #expect(try disk.free == freeBlocks(file.path))
    try disk.overwriteFree()
    #expect(try run(["e2fsck", "-fn", file.path]).succeeded)
  }
}
