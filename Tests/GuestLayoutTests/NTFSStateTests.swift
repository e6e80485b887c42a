import Storage
import TestSupport
import Testing

@testable import GuestLayout

/// NTFS volumes that were not closed, in which a Windows sleeps, or whose structures lie.
@Suite(.requiresPrograms("mkntfs"))
struct NTFSStateTests {
  private func disk(size: String = "20M") throws -> (TemporaryDirectory, OpenFile) {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: size)
    try runChecked(["mkntfs", "-q", "-F", "-f", path])
    return (directory, try OpenFile(path, 2))
  }

  private func table(_ file: OpenFile) throws -> NTFSFileTable {
    let volume = VolumeReader(range: 0..<file.size) { (offset, count) throws(ImageError) in
      (try? file.read(at: offset, count: count)) ?? []
    }
    return try NTFSFileTable(NTFSBootSector(file.read(at: 0, count: 512), volumeLength: file.size), volume)
  }

  /// Where a record of the file table lies, in a table in one piece.
  private func place(ofRecord number: UInt64, _ file: OpenFile) throws -> UInt64 {
    let table = try table(file)
    return table.boot.fileTable * table.boot.clusterSize + number * UInt64(table.boot.recordSize)
  }

  /// Where the bytes of a stream of a record begin.
  private func place(ofStream record: UInt64, _ file: OpenFile) throws -> UInt64 {
    let table = try table(file)
    let start = try table.stream(.data, of: table.record(record))?.runs.first?.start
    return try #require(start) * table.boot.clusterSize
  }

  private func obstacle(_ file: OpenFile) throws -> SpaceObstacle? {
    let disk = try SurveyedDisk(file.path)
    let found = try disk.volume.freeSpace.obstacle
    #expect((found == nil) == !disk.free.isEmpty)
    return found
  }

  private func expect(
    _ kind: SpaceObstacle.Kind?, _ file: OpenFile, at offset: UInt64, _ bytes: [UInt8],
    _ location: SourceLocation = #_sourceLocation
  ) throws {
    let before = try file.read(at: offset, count: bytes.count)
    try file.write(bytes, at: offset)
    let found = try obstacle(file)
    #expect(
      found?.kind == kind, "\(offset): \(bytes): \(String(describing: found))", sourceLocation: location)
    try file.write(before, at: offset)
  }

  @Test func flagsOfTheVolume() throws {
    let (directory, file) = try disk()
    _ = directory
    let record = try place(ofRecord: 3, file)
    let bytes = try file.read(at: record, count: 1024)
    var place = Int(bytes.little(UInt16.self, at: 0x14))
    while bytes.little(UInt32.self, at: place) != 0x70 {
      place += Int(bytes.little(UInt32.self, at: place + 4))
    }
    let value = record + UInt64(place) + UInt64(bytes.little(UInt16.self, at: place + 0x14))
    for flags in [0x0001, 0x0002, 0x0004, 0x0010, 0x0020, 0x4000, 0x8000, 0x0100] as [UInt16] {
      try expect(.dirty, file, at: value + 10, [UInt8(truncatingIfNeeded: flags), UInt8(flags >> 8)])
    }
    try expect(nil, file, at: value + 10, [0x88, 0])
    try expect(.unsupported, file, at: value + 8, [3, 2])
    try expect(.unsupported, file, at: value + 8, [1, 3])
    try expect(nil, file, at: value + 8, [1, 2])
  }

  /// A restart page of 4096 bytes with its fixups.
  private func restartPage(sequence: UInt8, client: UInt16, flags: UInt8, version: UInt8 = 1) -> [UInt8] {
    var page = [UInt8](repeating: 0, count: 4096)
    func put(_ value: UInt32, _ offset: Int, _ count: Int) {
      for index in 0..<count { page[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index)) }
    }
    page.replaceSubrange(0..<4, with: "RSTR".utf8)
    put(0x1E, 4, 2)
    put(9, 6, 2)
    put(4096, 0x10, 4)
    put(4096, 0x14, 4)
    put(0x30, 0x18, 2)
    put(1, 0x1A, 2)
    put(UInt32(version), 0x1C, 2)
    put(5, 0x1E, 2)
    page[0x30] = sequence
    put(1, 0x38, 2)
    put(UInt32(client), 0x3C, 2)
    page[0x3E] = flags
    for sector in 1...8 { page[sector * 512 - 2] = 5 }
    return page
  }

  @Test func restartPagesOfTheLog() throws {
    let (directory, file) = try disk()
    _ = directory
    let log = try place(ofStream: 2, file)
    let clean = restartPage(sequence: 9, client: 0, flags: 2)
    let closed = restartPage(sequence: 9, client: 0xFFFF, flags: 0)
    let dirty = restartPage(sequence: 9, client: 0, flags: 0)
    let older = restartPage(sequence: 8, client: 0, flags: 0)
    try expect(nil, file, at: log, clean + older)
    try expect(nil, file, at: log, older + clean)
    try expect(nil, file, at: log, closed + older)
    try expect(nil, file, at: log, closed + clean)
    try expect(.dirty, file, at: log, dirty + older)
    try expect(.dirty, file, at: log, dirty + clean)
    try expect(.dirty, file, at: log, restartPage(sequence: 9, client: 0, flags: 2, version: 2) + older)
    var torn = clean
    torn[1022] = 4
    try expect(.damaged, file, at: log, torn + older)
    try expect(.damaged, file, at: log, clean)
    try expect(.dirty, file, at: log + 5000, [0])
    try expect(.dirty, file, at: log, Array("CHKD".utf8))
  }

  @Test(
    .requiresMount, .requiresPrograms("ntfs-3g", "fusermount"),
    arguments: [
      ("hibr", true), ("HIBR", true), ("rstr", true), ("wake", false), ("WAKE", false), ("\0\0\0\0", false),
    ],
    [0, 400])
  func aWindowsThatSleeps(state: (String, Bool), otherFiles: Int) throws {
    let (directory, file) = try disk()
    try mounted(file.path, directory) { root in
      let name = otherFiles == 0 ? "hiberfil.sys" : "HiberFil.SYS"
      try writeFile("\(root)/\(name)", Array(state.0.utf8) + [UInt8](repeating: 0, count: 9000))
      // So many that the index of the root directory has blocks of its own.
      for index in 0..<otherFiles { try writeFile("\(root)/h\(index * 7919 % 1000)", []) }
    }
    #expect(try obstacle(file)?.kind == (state.1 ? .hibernated : nil))
    // Where Windows sleeps, the program does not let anything be removed.
    guard !state.1 else { return }
    try mounted(file.path, directory) { root in try runChecked(["bash", "-c", "rm \(root)/[hH]iber*"]) }
    #expect(try obstacle(file) == nil)
  }

  @Test func shadowCopiesHoldClustersThatAreFree() throws {
    let (directory, file) = try disk()
    _ = directory
    let mark: [UInt8] = [
      0x6B, 0x87, 0x08, 0x38, 0x76, 0xC1, 0x48, 0x4E, 0xB7, 0xAE, 0x04, 0x04, 0x6E, 0x6C, 0xC7, 0x52,
    ]
    let catalog: UInt64 = 13 << 20
    let bytes = withUnsafeBytes(of: catalog.littleEndian) { Array($0) }
    try file.write(mark + [1, 0, 0, 0, 1, 0, 0, 0], at: 0x1E00)
    #expect(try obstacle(file) == nil, "no catalog")
    try file.write(bytes, at: 0x1E00 + 48)
    #expect(try obstacle(file)?.kind == .damaged, "a catalog that is none")
    try file.write(mark + [1, 0, 0, 0, 2, 0, 0, 0], at: catalog)
    #expect(try obstacle(file)?.kind == .damaged, "a catalog in free clusters")
    try file.write([0x0F], at: try place(ofStream: 6, file) + catalog / 4096 / 8)
    #expect(try obstacle(file) == nil, "an empty catalog")
    try file.write([2], at: catalog + 256)
    #expect(try obstacle(file)?.kind == .unsupported)
    try file.write([1], at: catalog + 256)
    try file.write(bytes, at: catalog + 40)
    #expect(try obstacle(file)?.kind == .damaged, "a catalog that goes round")
  }

  /// Each structure that is read, called free by the bitmap.
  @Test func structuresThatAreCalledFreeAreDamage() throws {
    let (directory, file) = try disk()
    _ = directory
    let size = try table(file).boot.clusterSize
    let bitmap = try place(ofStream: 6, file)
    for place in [0, size, try place(ofRecord: 0, file), try place(ofStream: 2, file), bitmap] as [UInt64] {
      let cluster = place / size
      let byte = try file.read(at: bitmap + cluster / 8, count: 1)[0]
      try expect(.damaged, file, at: bitmap + cluster / 8, [byte & ~(1 << UInt8(cluster % 8))])
    }
  }

  @Test func numbersOfTheBootSectorThatCannotBe() throws {
    let (directory, file) = try disk()
    _ = directory
    for (offset, bytes) in [
      (0x0B, [0, 0]), (0x0B, [1, 2]), (0x0B, [0, 64]), (0x0D, [0]), (0x0D, [3]), (0x0D, [0x90]), (0x0E, [1]),
      (0x10, [2]),
      (0x20, [1]), (0x28, [0, 0, 0]), (0x28, [0, 0, 0, 1]), (0x2F, [0x80]), (0x30, [0]),
      (0x30, [0xFF, 0xFF, 0xFF]),
      (0x38, [0, 0]), (0x40, [0]), (0x40, [0x80]), (0x40, [3]), (0x40, [0xF8]), (510, [0]),
    ] as [(UInt64, [UInt8])] {
      try expect(.damaged, file, at: offset, bytes)
    }
  }

  @Test func aFileSystemMayBeSmallerThanItsPlaceAndNotLarger() throws {
    let (directory, file) = try disk()
    _ = directory
    let free = try SurveyedDisk(file.path).free
    try runChecked(["truncate", "-s", "30M", file.path])
    #expect(try SurveyedDisk(file.path).free == free)
    try runChecked(["truncate", "-s", "19M", file.path])
    #expect(try obstacle(file)?.kind == .damaged)
  }

  /// A changed bit anywhere in the records that count: never more is called free, and often nothing.
  @Test func changedBitsOfTheFileTable() throws {
    let (directory, file) = try disk()
    _ = directory
    let free = try SurveyedDisk(file.path).free
    var generator = SeededGenerator(seed: 11)
    for number in [0, 2, 3, 5, 6] as [UInt64] {
      let record = try place(ofRecord: number, file)
      for _ in 0..<120 {
        let place = record + UInt64.random(in: 0..<1024, using: &generator)
        let before = try file.read(at: place, count: 1)
        try file.write([before[0] ^ 1 << UInt8.random(in: 0..<8, using: &generator)], at: place)
        let disk = try SurveyedDisk(file.path)
        #expect(disk.free.isEmpty || disk.free == free, "byte \(place - record) of record \(number)")
        try file.write(before, at: place)
      }
    }
  }
}
