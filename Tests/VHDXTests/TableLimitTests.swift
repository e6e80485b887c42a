import Storage
import Testing

@testable import VHDX

/// The most that a region table and a metadata table may say is taken, and one more is refused.
@Suite("Limits of region and metadata tables")
struct TableLimitTests {
  static let mebibyte = VHDXFormat.mebibyte

  @Test("2047 regions are read, 2048 refused", arguments: [2046, 2047, 2048])
  func regions(count: Int) throws {
    var regions = [RegionTable.blockTableID, RegionTable.metadataID].enumerated().map { index, id in
      RegionTable.Region(
        id: id, offset: UInt64(index + 2) * Self.mebibyte, length: Self.mebibyte, isRequired: true)
    }
    for index in regions.count..<min(count, 2047) {
      regions.append(
        RegionTable.Region(
          id: .random(), offset: UInt64(index + 2) * Self.mebibyte, length: Self.mebibyte, isRequired: false))
    }
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: VHDXFormat.regionTableSize, alignment: 8)
    defer { bytes.deallocate() }
    RegionTable.encode(regions, into: bytes)
    // The table of 64 KiB has no room for one more: only its number can say so.
    bytes.storeLittleEndian(UInt32(count), at: 8)
    func decode() throws -> RegionTable {
      try RegionTable(
        UnsafeRawBufferPointer(bytes), file: "x", at: 192 << 10, log: Self.mebibyte..<2 * Self.mebibyte)
    }
    if count <= 2047 {
      #expect(try decode().regions.count == count)
    } else {
      refused("2048 entries") { _ = try decode() }
    }
  }

  @Test("2047 metadata items are read, 2048 refused", arguments: [2047, 2048])
  func itemCount(count: Int) throws {
    let region = try Self.region(Array(repeating: 1, count: 2047), claiming: UInt16(count))
    if count <= 2047 {
      #expect(try Self.decode(region).items.count == count)
    } else {
      refused("2048 entries") { _ = try Self.decode(region) }
    }
  }

  @Test("An item of 1 MiB is read, a longer one refused", arguments: [1 << 20, 1 << 20 + 1])
  func itemLength(length: Int) throws {
    let region = try Self.region([length])
    if length <= 1 << 20 {
      #expect(try Self.decode(region).items[0].data.count == length)
    } else {
      refused("1 MiB is the most") { _ = try Self.decode(region) }
    }
  }

  @Test("Items of 40 MiB together are read, of one byte more refused", arguments: [0, 1])
  func totalLength(more: Int) throws {
    let region = try Self.region(
      Array(repeating: 1 << 20, count: 40) + Array(repeating: 1, count: more))
    if more == 0 {
      #expect(try Self.decode(region).items.reduce(0) { $0 + $1.data.count } == 40 << 20)
    } else {
      refused("longer than 40 MiB") { _ = try Self.decode(region) }
    }
  }

  @Test(
    "A disk of 64 TiB, blocks of 256 MiB and two sizes of sectors are read, nothing beyond",
    arguments: [
      (64 << 40, 256 << 20, 4096, ""), (64 << 40, 1 << 20, 512, ""), (64 << 40 + 512, 1 << 20, 512, "64 TiB"),
      (0, 1 << 20, 512, "64 TiB"), (1 << 30, 512 << 20, 512, "block size"),
      (1 << 30, 512 << 10, 512, "block size"), (1 << 30, 3 << 20, 512, "block size"),
      (1 << 30, 1 << 20, 1024, "sector size"), (1 << 30, 1 << 20, 8192, "sector size"),
    ] as [(UInt64, UInt32, UInt32, String)])
  func disk(size: UInt64, blockSize: UInt32, sectorSize: UInt32, objection: String) throws {
    func item(_ id: GUID, _ data: some Sequence<UInt8>) -> MetadataItem {
      MetadataItem(id: id, isUser: false, isVirtualDisk: true, isRequired: true, data: Array(data))
    }
    func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
      withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    let items = [
      item(DiskParameters.Item.fileParameters, bytes(blockSize) + bytes(UInt32(0))),
      item(DiskParameters.Item.virtualDiskSize, bytes(size)),
      item(DiskParameters.Item.virtualDiskID, repeatElement(9, count: 16)),
      item(DiskParameters.Item.logicalSectorSize, bytes(sectorSize)),
      item(DiskParameters.Item.physicalSectorSize, bytes(UInt32(4096))),
    ]
    var region = [UInt8](repeating: 0, count: 1 << 20)
    region.withUnsafeMutableBytes { MetadataTable.encode(items, into: $0) }
    func parameters() throws -> DiskParameters {
      try DiskParameters(
        try Self.decode(region), file: "x",
        region: RegionTable.Region(
          id: RegionTable.metadataID, offset: 2 << 20, length: 1 << 20, isRequired: true))
    }
    if objection.isEmpty {
      #expect(try parameters().virtualSize == size)
    } else {
      refused(objection) { _ = try parameters() }
    }
  }

  private func refused(_ words: String, _ body: () throws -> Void) {
    #expect {
      try body()
    } throws: { error in
      (error as? ImageError)?.returnValue == .wrongDataType && "\(error)".contains(words)
    }
  }

  /// A metadata region with items of these lengths.
  private static func region(_ lengths: [Int], claiming count: UInt16? = nil) throws -> [UInt8] {
    let items = lengths.map {
      MetadataItem(
        id: .random(), isUser: true, isVirtualDisk: false, isRequired: false,
        data: [UInt8](repeating: 7, count: $0))
    }
    var bytes = [UInt8](repeating: 0, count: 42 << 20)
    bytes.withUnsafeMutableBytes { buffer in
      MetadataTable.encode(items, into: buffer)
      if let count { buffer.storeLittleEndian(count, at: 10) }
    }
    return bytes
  }

  private static func decode(_ bytes: [UInt8]) throws(ImageError) -> MetadataTable {
    let region = RegionTable.Region(
      id: RegionTable.metadataID, offset: 0, length: UInt64(bytes.count), isRequired: true)
    return try MetadataTable(file: "x", region: region) { (buffer, offset) throws(ImageError) in
      bytes.withUnsafeBytes {
        buffer.copyMemory(
          from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<Int(offset) + buffer.count]))
      }
    }
  }
}
