import Storage

/// Where the regions of the file lie (2.2.3). Two copies; either may be damaged.
struct RegionTable {
  struct Region: Equatable {
    var id: GUID
    /// Bytes from the file's start, a multiple of 1 MiB, behind the header section.
    var offset: UInt64
    /// Bytes, a multiple of 1 MiB.
    var length: UInt64
    /// A reader that does not know the region must refuse the file.
    var isRequired: Bool

    var range: Range<UInt64> { offset..<(offset + length) }
  }

  /// 2DC27766-F623-4200-9D64-115E9BFD4A08: the block table.
  static let blockTableID = GUID(bytes: [
    0x66, 0x77, 0xC2, 0x2D, 0x23, 0xF6, 0x00, 0x42, 0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08,
  ])
  /// 8B7CA206-4790-4B9A-B8FE-575F050F886E: the metadata region.
  static let metadataID = GUID(bytes: [
    0x06, 0xA2, 0x7C, 0x8B, 0x90, 0x47, 0x9A, 0x4B, 0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E,
  ])
  static let maximumEntries: UInt32 = 2047

  let regions: [Region]
  let blockTable: Region
  let metadata: Region

  /// True when `bytes` are a table that a writer finished: signature and checksum are right.
  static func isIntact(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.count == VHDXFormat.regionTableSize
      && bytes.littleEndian(UInt32.self, at: 0) == VHDXFormat.Signature.regionTable
      && bytes.littleEndian(UInt32.self, at: 4) == Checksum.of(bytes, zeroingFieldAt: 4)
  }

  /// Decodes an intact table and checks every number in it. `log` is the log's place, which no region may touch.
  init(_ bytes: UnsafeRawBufferPointer, file: String, at tableOffset: UInt64, log: Range<UInt64>)
    throws(ImageError)
  {
    let count = bytes.littleEndian(UInt32.self, at: 8)
    guard count <= RegionTable.maximumEntries else {
      throw .damaged(file, at: tableOffset, "the region table claims \(count) entries; 2047 are the most")
    }
    var regions: [Region] = []
    for index in 0..<Int(count) {
      let at = 16 + index * 32
      let offset = bytes.littleEndian(UInt64.self, at: at + 16)
      let length = UInt64(bytes.littleEndian(UInt32.self, at: at + 24))
      let region = Region(
        id: GUID(bytes, at: at), offset: offset, length: length,
        isRequired: bytes.littleEndian(UInt32.self, at: at + 28) & 1 == 1)
      guard offset >= VHDXFormat.headerSectionSize, offset % VHDXFormat.mebibyte == 0,
        length % VHDXFormat.mebibyte == 0, length > 0,
        offset <= VHDXFormat.maximumFileOffset
      else {
        throw .damaged(
          file, at: tableOffset + UInt64(at),
          "region \(region.id) has the impossible place \(offset) with \(length) bytes; both must be multiples of 1 MiB"
        )
      }
      guard !regions.contains(where: { $0.id == region.id }) else {
        throw .damaged(file, at: tableOffset + UInt64(at), "region \(region.id) stands in the table twice")
      }
      guard !region.range.overlaps(log), !regions.contains(where: { $0.range.overlaps(region.range) }) else {
        throw .damaged(
          file, at: tableOffset + UInt64(at),
          "region \(region.id) at \(offset) overlaps the log or another region")
      }
      let isKnown = region.id == RegionTable.blockTableID || region.id == RegionTable.metadataID
      // QEMU 1.6 wrote Required=0 for the known ones: the bit is asked for only where it matters.
      guard isKnown || !region.isRequired else {
        throw ImageError(
          .notSupported,
          "\(escaped(file)): needs the unknown region \(region.id); a newer program may read it")
      }
      regions.append(region)
    }
    guard let blockTable = regions.first(where: { $0.id == RegionTable.blockTableID }),
      let metadata = regions.first(where: { $0.id == RegionTable.metadataID })
    else {
      throw .damaged(file, at: tableOffset, "the region table names no block table or no metadata region")
    }
    self.regions = regions
    self.blockTable = blockTable
    self.metadata = metadata
  }

  /// Fills a buffer of 64 KiB with a table of `regions`.
  static func encode(_ regions: [Region], into bytes: UnsafeMutableRawBufferPointer) {
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    bytes.storeLittleEndian(VHDXFormat.Signature.regionTable, at: 0)
    bytes.storeLittleEndian(UInt32(regions.count), at: 8)
    for (index, region) in regions.enumerated() {
      let at = 16 + index * 32
      bytes.store(region.id, at: at)
      bytes.storeLittleEndian(region.offset, at: at + 16)
      bytes.storeLittleEndian(UInt32(region.length), at: at + 24)
      bytes.storeLittleEndian(UInt32(region.isRequired ? 1 : 0), at: at + 28)
    }
    bytes.storeLittleEndian(Checksum.of(UnsafeRawBufferPointer(bytes), zeroingFieldAt: 4), at: 4)
  }
}
