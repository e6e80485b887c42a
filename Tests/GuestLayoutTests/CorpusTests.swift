import TestSupport
import Testing

@testable import GuestLayout

/// Volumes that other systems made, in images that qemu-img turns into raw disks.
@Suite(.requiresCorpus, .requiresPrograms("qemu-img", "zstd"))
struct GuestCorpusTests {
  private func disk(_ stored: String, _ format: String) throws -> (TemporaryDirectory, SurveyedDisk) {
    let directory = try TemporaryDirectory()
    try Corpus.unpack([stored], into: directory.path)
    let raw = directory.file("raw")
    try runChecked(
      ["qemu-img", "convert", "-f", format, "-O", "raw", directory.file(Corpus.unpackedName(stored)), raw])
    return (directory, try SurveyedDisk(raw))
  }

  /// A volume that Windows formatted and closed, with a log of its own.
  @Test(
    .requiresPrograms("ntfscat", "ntfsinfo"),
    arguments: [
      ("real/dissect.hypervisor/dynamic.vhdx.zst", "vhdx"), ("real/dissect.hypervisor/fixed.vhd.zst", "vpc"),
    ])
  func windowsNTFS(stored: String, format: String) throws {
    let (directory, disk) = try disk(stored, format)
    let volume = try disk.volume
    #expect(volume.fileSystem == .ntfs && volume.freeSpace.obstacle == nil)
    let start = volume.range.lowerBound
    let copy = directory.file("copy")
    try runChecked(
      [
        "dd", "if=\(disk.path)", "of=\(copy)", "bs=512", "skip=\(start / 512)",
        "count=\(volume.range.count / 512)",
      ])
    #expect(try disk.free == freeClusters(copy).map { start + $0.lowerBound..<start + $0.upperBound })
  }

  @Test(arguments: [
    ("real/DiscUtils/swap.vhdx.zst", GuestFileSystem.swap), ("real/DiscUtils/xfs.vhdx.zst", .xfs),
    ("real/DiscUtils/btrfs.vhdx.zst", .btrfs),
  ])
  func others(stored: String, system: GuestFileSystem) throws {
    let (directory, disk) = try disk(stored, "vhdx")
    _ = directory
    #expect(try disk.volume.fileSystem == system)
    #expect(disk.free == (system == .swap ? [4096..<10 << 30] : []))
  }

  @Test(.requiresPrograms("dumpe2fs"), arguments: ["real/dfvfs/ext2.vhd.zst", "real/plaso/image.vhd.zst"])
  func ext2(stored: String) throws {
    let (directory, disk) = try disk(stored, "vpc")
    _ = directory
    #expect(try disk.volume.fileSystem == .ext2)
    #expect(try disk.free == freeBlocks(disk.path))
  }
}
