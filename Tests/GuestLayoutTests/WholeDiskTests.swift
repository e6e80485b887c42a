import TestSupport
import Testing

@testable import GuestLayout

/// Disks that belong to something as a whole, with a partition table that was left in place; and the room between table and
/// partitions as boot loaders leave it.
@Suite(.requiresPrograms("sfdisk", "mkfs.ext4"))
struct WholeDiskTests {
  static let tables = [
    "label: dos\nstart=2048, size=65536, type=83\nstart=81920, size=16384, type=82\n",
    "label: gpt\nstart=1MiB, size=32MiB\nstart=40MiB, size=8MiB, type=swap\n",
  ]
  private static let size: UInt64 = 64 << 20

  private func disk(_ table: String) throws -> (TemporaryDirectory, OpenFile) {
    let (directory, path) = try partitionedDisk(
      table, size: "64M",
      [(1 << 20, 32 << 20, ["mkfs.ext4", "-q", "-F"]), (40 << 20, 8 << 20, ["mkswap", "-q"])])
    return (directory, try OpenFile(path, 2))
  }

  @Test(arguments: tables)
  func marksOfTheWholeDiskMakeAllUsed(table: String) throws {
    let (directory, file) = try disk(table)
    _ = directory
    let raid: [UInt8] = [0xFC, 0x4E, 0x2B, 0xA9]
    let end = WholeDiskTests.size
    let marks: [(UInt64, [UInt8], GuestFileSystem)] = [
      (4096, raid, .raid), (end - 65536, raid, .raid), (end - 8192, raid, .raid),
      (1536, Array("LABELONE".utf8), .lvm), (0x10040, Array("_BHRfS_M".utf8), .btrfs),
      (4086, Array("SWAPSPACE2".utf8), .swap), (65526, Array("SWAPSPACE2".utf8), .swap),
      (4086, Array("S1SUSPEND".utf8), .swap), (0x4000, Array("SKUL".utf8) + [0xBA, 0xBE], .luks),
      (4120, [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA], .bcache),
      (4120, [0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9], .bcachefs),
      (128 << 10, [0x0C, 0xB1, 0xBA, 0, 0, 0, 0, 0], .zfs),
      (end - (256 << 10) + (128 << 10) + 7 * 1024, [0x0C, 0xB1, 0xBA, 0, 0, 0, 0, 0], .zfs),
      (4612, Array("!Stra0tis".utf8), .stratis), (0x10000, [0x01, 0x16, 0x19, 0x70], .gfs2),
      (0x8001, Array("CD001".utf8), .iso9660),
    ]
    #expect(try SurveyedDisk(file.path).survey.volumes.allSatisfy { $0.freeSpace.obstacle == nil })
    for (offset, mark, system) in marks {
      let before = try file.read(at: offset, count: mark.count)
      try file.write(mark, at: offset)
      let disk = try SurveyedDisk(file.path)
      #expect(disk.free.isEmpty, "\(system) at \(offset)")
      #expect(disk.survey.volumes.map(\.fileSystem) == [.ext4, .swap])
      for volume in disk.survey.volumes {
        #expect(volume.freeSpace.obstacle?.kind == .contradictory)
        #expect(volume.freeSpace.obstacle?.description.contains("has the mark of \(system)") == true)
      }
      try file.write(before, at: offset)
    }
  }

  @Test func allMarksNearTheStartAreRead() {
    #expect(FormatMark.nearStart.allSatisfy { $0.offset + $0.bytes.count <= FormatMark.startLength })
    // Boot code holds any two or three bytes.
    #expect((FormatMark.nearStart + FormatMark.farther).allSatisfy { !$0.isLong || $0.bytes.count >= 4 })
  }

  /// mkfs and mkswap over a whole disk whose MBR they leave in place.
  @Test(arguments: [["mkfs.ext4", "-q", "-F"], ["mkswap", "-q"]])
  func aFileSystemOverADiskWithAnOldTable(make: [String]) throws {
    let (directory, file) = try disk(WholeDiskTests.tables[0])
    let whole = try newDisk(directory, size: "64M", name: "whole")
    try runChecked(make + [whole])
    try file.write(try OpenFile(whole).read(at: 1024, count: 3072), at: 1024)
    #expect(try SurveyedDisk(file.path).free.isEmpty)
  }

  /// Boot loaders fill the room before the first partition with code: no content of it is a mark by chance.
  @Test(arguments: tables)
  func codeBeforeTheFirstPartitionIsNoMark(table: String) throws {
    let (directory, file) = try disk(table)
    _ = directory
    let isGPT = table.contains("gpt")
    let expected = try SurveyedDisk(file.path).free
    #expect(!expected.isEmpty)
    for seed in 1...40 {
      let start: UInt64 = isGPT ? 34 * 512 : 512
      try file.write(pattern(seed: UInt64(seed), count: (1 << 20) - Int(start)), at: start)
      try file.write(pattern(seed: UInt64(seed + 1000), count: 440), at: 0)
      #expect(try SurveyedDisk(file.path).free == expected)
    }
  }

  private static let modules = "/usr/lib/grub/i386-pc"

  /// What GRUB puts there for a BIOS.
  @Test(.requiresPrograms("grub-mkimage"), .requiresFile("\(modules)/boot.img"), arguments: tables)
  func grubIsNoMark(table: String) throws {
    let modules = WholeDiskTests.modules
    let (directory, file) = try disk(table)
    let expected = try SurveyedDisk(file.path).free
    let core = directory.file("core.img")
    try runChecked([
      "grub-mkimage", "-O", "i386-pc", "-d", modules, "-o", core, "-p", "(hd0,1)/boot/grub", "biosdisk",
      "part_msdos", "part_gpt", "ext2", "ntfs", "fat", "lvm", "mdraid1x", "mdraid09", "btrfs", "xfs", "zfs",
      "luks",
    ])
    try file.write(try OpenFile("\(modules)/boot.img").read(at: 0, count: 440), at: 0)
    let image = try OpenFile(core)
    try file.write(
      try image.read(at: 0, count: Int(min(image.size, 900_000))), at: table.contains("gpt") ? 34 * 512 : 512)
    #expect(try SurveyedDisk(file.path).free == expected)
  }
}
