import TestSupport
import Testing

@testable import GuestLayout

/// Swap areas beside other volumes: whether these show that the machine is down.
@Suite(.requiresPrograms("sfdisk", "mkfs.ext4"))
struct MachineTraceTests {
  private static let swapStart: UInt64 = 40 << 20
  private static let freeSwap: UInt64 = 1023 * 4096
  private static let ending = "nothing on the disk tells whether its machine is only asleep"

  static let tables = [
    "label: dos\nstart=2048, size=65536, type=83\nstart=81920, size=16384, type=82\n",
    "label: gpt\nstart=1MiB, size=32MiB\nstart=40MiB, size=8MiB, type=swap\n",
  ]

  /// A swap area in partition 2, and in partition 1 what a program makes.
  private func disk(_ table: String, _ make: [String]?) throws -> (TemporaryDirectory, OpenFile) {
    let (directory, path) = try partitionedDisk(
      table, size: "64M", make.map { [(start: 1 << 20, size: 32 << 20, make: $0)] } ?? [])
    let file = try OpenFile(path, 2)
    try putSwap(file)
    return (directory, file)
  }

  private func putSwap(_ file: OpenFile) throws {
    try file.write([1, 0, 0, 0, 0xFF, 3, 0, 0], at: MachineTraceTests.swapStart + 1024)
    try file.write(Array("SWAPSPACE2".utf8), at: MachineTraceTests.swapStart + 4086)
  }

  private func swap(_ file: OpenFile) throws -> GuestVolume {
    try #require(try SurveyedDisk(file.path).survey.volumes.first { $0.number == 2 })
  }

  private func expectUsed(
    _ file: OpenFile, _ words: String, _ location: SourceLocation = #_sourceLocation
  ) throws {
    let obstacle = try swap(file).freeSpace.obstacle
    #expect(obstacle?.kind == .inUse, sourceLocation: location)
    #expect(
      obstacle?.description.contains(words) == true, "\(String(describing: obstacle))",
      sourceLocation: location)
  }

  @Test(arguments: tables)
  func besideAClosedExtSwapIsFree(table: String) throws {
    let (directory, file) = try disk(table, ["mkfs.ext4", "-q", "-F"])
    _ = directory
    let volume = try swap(file)
    #expect(volume.freeSpace == .known(bytes: MachineTraceTests.freeSwap))
    #expect(volume.notes.isEmpty)
  }

  /// The machine was saved while it ran: its pages are in the swap area, which bears the usual mark.
  @Test(arguments: tables)
  func besideAMountedExtSwapIsUsed(table: String) throws {
    let (directory, file) = try disk(table, ["mkfs.ext4", "-q", "-F", "-O", "^metadata_csum"])
    _ = directory
    let place = (1 << 20) + 1024 + 0x60 as UInt64
    try file.write([try file.read(at: place, count: 1)[0] | 4], at: place)
    try expectUsed(file, "partition 1 tells (ext4: dirty: its journal is to be replayed)")
    #expect(try SurveyedDisk(file.path).free.isEmpty)
  }

  @Test(
    .requiresPrograms("mkfs.fat", "mkfs.xfs"),
    arguments: [["mkfs.fat"], ["mkfs.fat", "-F", "32"], ["mkswap", "-q"]])
  func besideWhatNoSystemRunsOnSwapIsFreeWithANote(make: [String]) throws {
    let (directory, file) = try disk(MachineTraceTests.tables[0], make)
    _ = directory
    let type: UInt8 = make[0] == "mkfs.fat" ? 0x0C : 0x82
    try file.write([type], at: 446 + 4)
    #expect(try swap(file).freeSpace.obstacle == nil)
    #expect(try swap(file).notes == [MachineTraceTests.ending])
    // The bit that Linux sets while such a volume is mounted.
    guard make[0] == "mkfs.fat" else { return }
    try file.write([1], at: (1 << 20) + (make.count > 1 ? 0x41 : 0x25))
    try expectUsed(file, "partition 1 tells (fat")
  }

  @Test func aloneSwapIsFreeWithANote() throws {
    var disk = DiskInMemory(size: 64 << 20)
    disk.putSwap(at: 0, pages: 1000)
    let volume = try #require(try disk.survey().volumes.first)
    #expect(volume.freeSpace == .known(bytes: 999 * 4096) && volume.notes == [MachineTraceTests.ending])
  }

  /// Formats that do not show whether they are in use, or do so in ways that are not read.
  @Test(
    arguments: [
      (0, "XFSB"), (0x10040, "_BHRfS_M"), (512, "LABELONE"), (0, "LUKS\u{BA}\u{BE}"), (3, "EXFAT   "),
      (1024, "\u{10}\u{20}\u{F5}\u{F2}"), (4096, "\u{FC}\u{4E}\u{2B}\u{A9}"), (5000, "no format at all"),
      ((32 << 20) - 3, "end"),
    ] as [(UInt64, String)])
  func besideWhatCannotTellSwapIsUsed(offset: UInt64, content: String) throws {
    for table in MachineTraceTests.tables {
      let (directory, file) = try disk(table, nil)
      _ = directory
      #expect(try swap(file).notes == [MachineTraceTests.ending], "beside an empty partition")
      try file.write(content.unicodeScalars.map { UInt8($0.value) }, at: (1 << 20) + offset)
      try expectUsed(file, "partition 1 tells (")
    }
  }

  /// Partitions for boot loaders, and those that Windows keeps for itself, hold no system.
  @Test(arguments: [
    ("21686148-6449-6E6F-744E-656564454649", true), ("E3C9E316-0B5C-4DB8-817D-F92DF00215AE", true),
    ("C12A7328-F81F-11D2-BA4B-00C04FC93EC9", false), ("0FC63DAF-8483-4772-8E79-3D69D8477DE4", false),
  ])
  func typesThatHoldNoSystem(type: String, isFree: Bool) throws {
    let (directory, file) = try disk(
      "label: gpt\nstart=1MiB, size=32MiB, type=\(type)\nstart=40MiB, size=8MiB, type=swap\n", nil)
    _ = directory
    try file.write(pattern(seed: 5, count: 50_000), at: 1 << 20)
    #expect(try (swap(file).freeSpace.obstacle == nil) == isFree)
    // Whatever the type says, what is known to be something is that.
    try file.write(Array("XFSB".utf8), at: 1 << 20)
    try expectUsed(file, "xfs")
  }

  /// A partition that is not there was perhaps cut off: what it held is not known.
  @Test func besideAPartitionBeyondTheDiskSwapIsUsed() throws {
    let (directory, file) = try disk(MachineTraceTests.tables[0], ["mkfs.ext4", "-q", "-F"])
    _ = directory
    try file.write(
      MasterBootRecordEntry(type: 0x83, first: 1 << 20, count: 4096).bytes, at: 446 + 32)
    try expectUsed(file, "partition 3 begins beyond the end of the disk")
  }
}
