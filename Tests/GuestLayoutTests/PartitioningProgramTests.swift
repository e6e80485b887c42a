import GuestLayout
import TestSupport
import Testing

/// Tables that the usual programs make, and how those programs and the kernel read them.
struct PartitioningProgramTests {
  /// A sparse file with a table that sfdisk made from `script`: it knows other sectors than 512 of devices only.
  private func disk(_ script: String, size: String, sectorSize: Int = 512) throws -> (
    TemporaryDirectory, String
  ) {
    let directory = try TemporaryDirectory()
    let path = directory.file("disk")
    try runChecked(["truncate", "-s", size, path])
    let device = sectorSize == 512 ? nil : try LoopDevice(path, ["-b", String(sectorSize)])
    try runChecked(
      ["sfdisk", "-q", "--no-reread", "--no-tell-kernel", device?.path ?? path], input: Array(script.utf8))
    try device?.detach()
    return (directory, path)
  }

  /// (number, first byte, length, type) of every partition.
  private func summary(_ table: PartitionTable) -> [String] {
    table.partitions.map { "\($0.number) \($0.firstByte) \($0.length) \($0.type)" }
  }

  @Test(.requiresPrograms("sfdisk"))
  func primaryAndLogicalPartitionsHaveLinuxNumbers() throws {
    let (directory, path) = try disk(
      """
      label: dos
      start=2048, size=4096, type=83, bootable
      start=8192, size=40960, type=f
      start=10240, size=2048, type=7
      start=14336, size=4096, type=83
      start=20480, size=1024, type=82
      """, size: "64M")
    _ = directory
    let table = try readTable(path, sectorSize: 512)
    #expect(table.scheme == .mbr)
    #expect(table.warnings.isEmpty)
    #expect(
      summary(table) == [
        "1 1048576 2097152 0x83", "2 4194304 1024 0x0f", "5 5242880 1048576 0x07", "6 7340032 2097152 0x83",
        "7 10485760 524288 0x82",
      ])
    #expect(table.partitions.filter(\.isContainer).map(\.number) == [2])
  }

  @Test(.requiresLoopDevice, .requiresPrograms("sfdisk"), arguments: [512, 4096])
  func gptInBothSectorSizes(sectorSize: Int) throws {
    let (directory, path) = try disk(
      """
      label: gpt
      start=1MiB, size=1MiB, type=C12A7328-F81F-11D2-BA4B-00C04FC93EC9, name="EFI system"
      start=4MiB, size=8MiB, name="d t  x"
      """, size: "64M", sectorSize: sectorSize)
    _ = directory
    let table = try readTable(path, sectorSize: sectorSize)
    #expect(table.scheme == .gpt)
    #expect(table.warnings.isEmpty)
    #expect(
      summary(table) == [
        "1 1048576 1048576 c12a7328-f81f-11d2-ba4b-00c04fc93ec9",
        "2 4194304 8388608 0fc63daf-8483-4772-8e79-3d69d8477de4",
      ])
    #expect(table.partitions.map(\.name) == ["EFI system", "d t  x"])
    // Read in the wrong sector size there is a protective record and nothing valid behind it.
    let wrong = try readTable(path, sectorSize: sectorSize == 512 ? 4096 : 512)
    #expect(wrong.scheme == .gpt && wrong.partitions.isEmpty && !wrong.warnings.isEmpty)
  }

  @Test(.requiresPrograms("sgdisk"))
  func namesBeyondASCII() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("disk")
    try runChecked(["truncate", "-s", "8M", path])
    let made = try run(
      ["sgdisk", "-n", "1:0:0", "-c", "1:dätä\u{1F41F}\nx", path], environment: ["LC_ALL": "C.UTF-8"])
    #expect(made.succeeded, "\(made.summary)")
    #expect(try readTable(path, sectorSize: 512).partitions.map(\.name) == ["dätä\u{1F41F}\nx"])
  }

  @Test(.requiresPrograms("sgdisk"))
  func sgdiskWithManyEntriesAndHighNumbers() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("disk")
    try runChecked(["truncate", "-s", "100M", path])
    try runChecked(["sgdisk", "-S", "1024", "-n", "1024:8192:+8M", "-n", "3:40960:0", path])
    let table = try readTable(path, sectorSize: 512)
    #expect(table.scheme == .gpt)
    #expect(table.partitions.map(\.number) == [3, 1024])
    #expect(table.partitions.last?.firstByte == 8192 * 512)
    #expect(table.partitions.last?.length == 8 << 20)
  }

  @Test(.requiresPrograms("sfdisk"))
  func damagedPrimaryIsReadFromTheCopy() throws {
    let (directory, path) = try disk(
      "label: gpt\nsize=8MiB, name=first\nsize=8MiB, name=second\n", size: "64M")
    _ = directory
    let whole = try readTable(path, sectorSize: 512)
    // First an entry is damaged, of which the header's sum of the entries speaks; then the header itself.
    for offset in [1024 + 60, 512 + 30] as [UInt64] {
      let file = try OpenFile(path, 2)
      try file.write([0xFF], at: offset)
      let table = try readTable(path, sectorSize: 512)
      #expect(table.partitions == whole.partitions)
      #expect(table.warnings.count == 1)
    }
    let file = try OpenFile(path, 2)
    try file.write([0xFF], at: file.size - 512 + 30)
    let lost = try readTable(path, sectorSize: 512)
    #expect(lost.scheme == .gpt && lost.partitions.isEmpty && lost.warnings.count == 1)
  }

  @Test(.requiresPrograms("sfdisk"))
  func partitionsOfADiskThatWasCutAreClippedOrDropped() throws {
    let (directory, path) = try disk(
      "label: gpt\nstart=1MiB, size=8MiB\nstart=16MiB, size=16MiB\nstart=40MiB, size=8MiB\n", size: "64M")
    _ = directory
    try runChecked(["truncate", "-s", "20M", path])
    let table = try readTable(path, sectorSize: 512)
    #expect(table.partitions.map(\.number) == [1, 2])
    #expect(table.partitions.last?.length == 4 << 20)
    #expect(table.warnings.count == 2)
  }

  @Test(
    .requiresPrograms("mkfs.fat", "mkfs.ntfs", "mkfs.ext4"),
    arguments: [
      ["mkfs.fat", "-F", "12"], ["mkfs.fat", "-F", "16"], ["mkfs.fat", "-F", "32"],
      ["mkfs.ntfs", "-q", "-F", "-f"],
      ["mkfs.ext4", "-q", "-F"],
    ])
  func fileSystemsWithoutATableAreNotTakenForOne(command: [String]) throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("disk")
    try runChecked(["truncate", "-s", command.contains("12") ? "4M" : "64M", path])
    try runChecked(command + [path])
    let table = try readTable(path, sectorSize: 512)
    #expect(table.scheme == .none && table.partitions.isEmpty)
  }

  /// The kernel is asked through a loop device, and must see the same windows under the same numbers.
  @Test(
    .requiresLoopDevice, .requiresPrograms("sfdisk", "losetup"),
    arguments: [
      "label: dos\nstart=2048, size=4096\nstart=8192, size=40960, type=5\nstart=10240, size=2048\nstart=14336, size=4096\n",
      "label: gpt\nsize=8MiB\nsize=8MiB\nsize=8MiB\n",
    ], [512, 4096])
  func theKernelSeesTheSame(script: String, sectorSize: Int) throws {
    let (directory, path) = try disk(script, size: "300M", sectorSize: sectorSize)
    _ = directory
    let device = try LoopDevice(path, ["-P", "-b", String(sectorSize)])
    let table = try readTable(path, sectorSize: sectorSize)
    #expect(!table.partitions.isEmpty)
    // A kernel built without one of the schemes is told by partx, whose reader is another independent one.
    device.addPartitions()
    for partition in table.partitions where !partition.isContainer {
      let kernel = try #require(device.kernelPartition(partition.number), "\(partition)")
      #expect(kernel.firstByte == partition.firstByte && kernel.length == partition.length, "\(partition)")
    }
    let highest = table.partitions.map(\.number).max() ?? 0
    let numbers = Set(table.partitions.map(\.number))
    for number in 1...highest + 1 where !numbers.contains(number) {
      #expect(device.kernelPartition(number) == nil)
    }
  }
}
