import TestSupport
import Testing

@testable import GuestLayout

/// Tables that lie.
struct HostileTableTests {
  @Test func anEmptyDiskHasNoTable() throws {
    for size in [0, 1, 511, 512, 513, 4095, 4096, 1 << 20, UInt64.max] as [UInt64] {
      for sectorSize in [512, 4096, 0, 1, 1024] as [UInt32] {
        let disk = DiskInMemory(size: size, sectorSize: sectorSize)
        #expect(try disk.table().scheme == .none)
      }
    }
  }

  @Test func theReadersErrorPassesThrough() {
    #expect(throws: DiskInMemory.Outside()) {
      try PartitionTable.read(diskSize: 4096, sectorSize: 512) { (_, _) throws(DiskInMemory.Outside) in
        throw DiskInMemory.Outside()
      }
    }
  }

  @Test func anAnswerThatIsTooShortIsNoTable() {
    let table = PartitionTable.read(diskSize: 4096, sectorSize: 512) { _, _ in [0x55, 0xAA] }
    #expect(table.scheme == .none)
  }

  @Test func overlappingPartitionsAreAllListed() throws {
    var disk = DiskInMemory(size: 1 << 20)
    disk.putRecord(at: 0, [(0x83, 1, 1000), (0x83, 500, 1000), (0x07, 1, 1000)])
    #expect(try disk.table().partitions.map(\.number) == [1, 2, 3])
  }

  @Test func windowsAreCutAtTheEndOrDroppedBeyondIt() throws {
    var disk = DiskInMemory(size: 1 << 20)
    disk.putRecord(at: 0, [(0x83, 2047, .max), (0x83, 2048, 1), (0x83, .max, .max), (0x83, 0, 0)])
    let table = try disk.table()
    #expect(table.partitions.map(\.length) == [512])
    #expect(table.warnings.count == 2)
  }

  @Test func entriesThatAllLieOutsideAreNoTable() throws {
    var disk = DiskInMemory(size: 1 << 20)
    disk.putRecord(at: 0, [(0x83, 4000, 10), (0x83, 5000, 10)])
    #expect(try disk.table().scheme == .none)
  }

  @Test func bootIndicatorsThatAreCodeMeanThatThereIsNoTable() throws {
    var disk = DiskInMemory(size: 1 << 20)
    disk.putRecord(at: 0, [(0x83, 1, 10)], bootIndicator: 0x81)
    #expect(try disk.table().scheme == .none)
  }

  @Test func chainThatPointsAtItselfEnds() throws {
    var disk = DiskInMemory(size: 1 << 20)
    disk.putRecord(at: 0, [(0x05, 100, 1000)])
    disk.putRecord(at: 100, [(0x83, 1, 10), (0x05, 0, 1000)])
    let table = try disk.table()
    #expect(table.partitions.map(\.number) == [1, 5])
    #expect(table.warnings.count == 1 && table.warnings[0].contains("loop"))
  }

  @Test func chainOfTwoThatPointAtEachOtherEnds() throws {
    var disk = DiskInMemory(size: 1 << 20)
    disk.putRecord(at: 0, [(0x83, 1, 10), (0x0F, 100, 1000)])
    disk.putRecord(at: 100, [(0x83, 1, 10), (0x05, 200, 100)])
    disk.putRecord(at: 300, [(0x83, 1, 10), (0x05, 0, 100)])
    let table = try disk.table()
    #expect(table.partitions.map(\.number) == [1, 2, 5, 6])
    #expect(table.warnings.count == 1)
  }

  @Test func chainIsBounded() throws {
    var disk = DiskInMemory(size: 64 << 20)
    disk.putRecord(at: 0, [(0x05, 10, 100_000)])
    for index in 0..<1000 as Range<UInt32> {
      disk.putRecord(at: 10 + UInt64(index) * 10, [(0x83, 1, 5), (0x05, (index + 1) * 10, 10)])
    }
    let table = try disk.table()
    #expect(table.partitions.count == 1 + 251)
    #expect(table.partitions.last?.number == 255)
    #expect(table.warnings.count == 1)
  }

  @Test func chainThatLeavesTheDiskEnds() throws {
    var disk = DiskInMemory(size: 1 << 20)
    disk.putRecord(at: 0, [(0x05, 100, 1000)])
    disk.putRecord(at: 100, [(0x83, 5000, 10), (0x05, .max, 1000)])
    let table = try disk.table()
    #expect(table.partitions.map(\.number) == [1])
    #expect(table.warnings.count == 2)
  }

  @Test func garbageInTheLaterEntriesOfAChainIsNotBelieved() throws {
    var disk = DiskInMemory(size: 1 << 20)
    disk.putRecord(at: 0, [(0x05, 100, 1000)])
    disk.putRecord(at: 100, [(0x83, 1, 10), (0, 0, 0), (0x20, 900, 500), (0x83, 20, 10)])
    #expect(try disk.table().partitions.map(\.number) == [1, 5, 6])
  }

  /// Whatever the bytes, the answer comes, with windows inside the disk and each number once.
  @Test(arguments: 0..<40 as Range<UInt64>)
  func randomBytes(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<25 {
      let sectorSize: UInt32 = Bool.random(using: &generator) ? 512 : 4096
      var disk = DiskInMemory(size: UInt64.random(in: 1..<1 << 22, using: &generator), sectorSize: sectorSize)
      disk.stretches[0] = pattern(seed: generator.next(), count: 1 << 16)
      var entries: [(UInt8, UInt32, UInt32)] = []
      for _ in 0..<4 {
        let type = [0x05, 0x0F, 0x83, 0xEE, 0x85].randomElement(using: &generator) ?? 0
        entries.append(
          (
            UInt8(type), UInt32.random(in: 0..<64, using: &generator),
            UInt32(truncatingIfNeeded: generator.next() >> UInt64.random(in: 0..<64, using: &generator))
          ))
      }
      disk.putRecord(at: 0, entries)
      // Chains: records that lead anywhere near.
      for _ in 0..<32 {
        let place = UInt64.random(in: 1..<64, using: &generator)
        disk.putRecord(
          at: place,
          (0..<4).map { _ in
            (
              [0x05, 0x83, 0x0F, 0].randomElement(using: &generator) ?? 0,
              UInt32.random(in: 0..<64, using: &generator),
              UInt32.random(in: 0..<64, using: &generator)
            )
          })
      }
      try check(disk)
    }
  }

  /// A GPT that is right in all else: as many entries, and as long ones, as are read, and one step more.
  @Test(arguments: [(128, 128), (1024, 4096), (1025, 128), (2048, 2048), (4, 8192)])
  func gptIsBounded(count: Int, entrySize: Int) throws {
    var disk = DiskInMemory(size: 64 << 20)
    disk.putRecord(at: 0, [(0xEE, 1, .max)])
    func put(_ value: UInt64, _ bytes: inout [UInt8], at offset: Int, count: Int) {
      for index in 0..<count { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
    }
    var entries = [UInt8](repeating: 0, count: count * entrySize)
    entries.replaceSubrange(0..<32, with: repeatElement(7, count: 32))
    put(40_000, &entries, at: 32, count: 8)
    put(40_009, &entries, at: 40, count: 8)
    var header = [UInt8](repeating: 0, count: 512)
    header.replaceSubrange(0..<8, with: "EFI PART".utf8)
    for (value, offset, length) in [
      (92, 12, 4), (1, 24, 8), (34, 40, 8), (100_000, 48, 8), (2, 72, 8), (UInt64(count), 80, 4),
      (UInt64(entrySize), 84, 4), (UInt64(GUIDPartitionTable.crc32(entries)), 88, 4),
    ] as [(UInt64, Int, Int)] {
      put(value, &header, at: offset, count: length)
    }
    put(UInt64(GUIDPartitionTable.crc32(Array(header.prefix(92)))), &header, at: 16, count: 4)
    disk.stretches[512] = header
    disk.stretches[1024] = entries
    let table = try disk.table()
    let isRead = count <= 1024 && entrySize <= 4096
    #expect(table.partitions.map(\.firstByte) == (isRead ? [40_000 * 512] : []))
    #expect(table.warnings.isEmpty == isRead)
  }

  /// A GPT with right sums around wrong numbers.
  @Test(arguments: 0..<40 as Range<UInt64>)
  func gptWithRightSumsAndRandomNumbers(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<25 {
      var disk = DiskInMemory(size: 1 << 20)
      disk.putRecord(at: 0, [(0xEE, 1, .max)])
      var header = [UInt8](repeating: 0, count: 512)
      func store(_ value: UInt64, at offset: Int, bytes: Int) {
        for index in 0..<bytes {
          header[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
        }
      }
      func someNumber() -> UInt64 {
        [0, 1, 2, 34, 128, 512, 1 << 20, 1 << 31, 1 << 32, .max, generator.next()].randomElement(
          using: &generator) ?? 0
      }
      header.replaceSubrange(0..<8, with: "EFI PART".utf8)
      store(92, at: 12, bytes: 4)
      store(1, at: 24, bytes: 8)
      store(2, at: 40, bytes: 8)
      store(someNumber(), at: 48, bytes: 8)
      store(Bool.random(using: &generator) ? 2 : someNumber(), at: 72, bytes: 8)
      store(Bool.random(using: &generator) ? 128 : someNumber(), at: 80, bytes: 4)
      store(Bool.random(using: &generator) ? 128 : someNumber(), at: 84, bytes: 4)
      let entries = (0..<16384).map { index in
        index % 128 < 16 || Bool.random(using: &generator) ? UInt8(truncatingIfNeeded: generator.next()) : 0
      }
      disk.stretches[1024] = entries
      store(UInt64(GUIDPartitionTable.crc32(entries)), at: 88, bytes: 4)
      store(UInt64(GUIDPartitionTable.crc32(Array(header.prefix(92)))), at: 16, bytes: 4)
      disk.stretches[512] = header
      try check(disk)
    }
  }

  private func check(_ disk: DiskInMemory) throws {
    let table = try disk.table()
    #expect(Set(table.partitions.map(\.number)).count == table.partitions.count)
    #expect(table.partitions.count <= 1024)
    for partition in table.partitions {
      #expect(partition.length > 0 && partition.number > 0)
      #expect(partition.firstByte < disk.size && partition.length <= disk.size - partition.firstByte)
    }
  }
}
