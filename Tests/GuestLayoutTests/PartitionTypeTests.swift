import Storage
import TestSupport
import Testing

@testable import GuestLayout

/// File systems are believed only in partitions whose type fits. What the types are called is sfdisk's word.
@Suite(.requiresPrograms("sfdisk", "mkfs.ext4"))
struct PartitionTypeTests {
  @Test func typesOfGPT() throws {
    let output = try runChecked(["sfdisk", "--label", "gpt", "--list-types"])
    let listed = output.split(separator: "\n").compactMap { line -> (GUID, Substring)? in
      guard let id = GUID(String(line.prefix(36))) else { return nil }
      return (id, line.dropFirst(36).drop { $0 == " " })
    }
    #expect(listed.count > 100)
    for (type, name) in listed {
      let isFileSystem =
        [
          "Microsoft basic data", "Windows recovery environment", "Linux filesystem", "Linux server data",
          "Linux home", "Linux user's home", "Linux variable data", "Linux temporary data",
          "Linux extended boot",
        ].contains(name)
        || (name.hasPrefix("Linux root (") || name.hasPrefix("Linux /usr (")) && !name.contains("verity")
      for system in [GuestFileSystem.ntfs, .ext2, .ext3, .ext4] {
        #expect(PartitionType.gpt(type).fits(system) == isFileSystem, "\(name)")
      }
      let isSwap = name == "Linux swap" || name == "Linux filesystem"
      #expect(PartitionType.gpt(type).fits(.swap) == isSwap, "\(name)")
    }
  }

  @Test func typesOfMBR() {
    for type in UInt8.min...UInt8.max {
      #expect(PartitionType.mbr(type).fits(.ntfs) == [0x07, 0x17, 0x27, 0x83, 0x93].contains(type))
      #expect(PartitionType.mbr(type).fits(.ext4) == [0x07, 0x17, 0x27, 0x83, 0x93].contains(type))
      #expect(PartitionType.mbr(type).fits(.swap) == [0x82, 0x83].contains(type))
    }
  }

  /// FreeBSD keeps the first 64 KiB of its file system for boot code, which nobody cleared of an old swap header.
  @Test func staleSwapInAPartitionOfFreeBSD() throws {
    let type = "516e7cb6-6ecf-11d6-8ff8-00022d09712b"
    let (directory, path) = try partitionedDisk(
      "label: gpt\nstart=1MiB, size=32MiB, type=\(type)\n", size: "64M",
      [(1 << 20, 32 << 20, ["mkswap", "-q"])])
    _ = directory
    let disk = try SurveyedDisk(path)
    #expect(disk.free.isEmpty)
    #expect(try disk.volume.freeSpace.obstacle?.kind == .contradictory)
    #expect(try disk.volume.freeSpace.obstacle?.description.contains(type) == true)
    // With the file system's own superblock both marks are seen.
    try OpenFile(path, 2).write([0x19, 0x01, 0x54, 0x19], at: (1 << 20) + 65536 + 1372)
    #expect(
      try SurveyedDisk(path).volume.freeSpace.obstacle?.description == "it has the marks of ufs and swap")
  }

  @Test(arguments: [0x01, 0x0C, 0x16, 0x39, 0x81, 0x82, 0xA5, 0xA9, 0xBF, 0xEF, 0xFB, 0xFC] as [UInt8])
  func extInAPartitionOfAnotherSystem(type: UInt8) throws {
    let (directory, path) = try partitionedDisk(
      "label: dos\nstart=2048, size=32768\n", size: "32M", [(1 << 20, 16 << 20, ["mkfs.ext4", "-q", "-F"])])
    _ = directory
    #expect(try SurveyedDisk(path).volume.freeSpace.obstacle == nil)
    try OpenFile(path, 2).write([type], at: 446 + 4)
    let disk = try SurveyedDisk(path)
    #expect(disk.free.isEmpty)
    #expect(
      try disk.volume.freeSpace.obstacle?.description.contains(PartitionType.mbr(type).description) == true)
  }
}
