import Storage

/// Shadow copies (VSS) of an NTFS volume. A copy is made of what was overwritten since, and of the rest in its old place:
/// clusters of files deleted since then are free by the bitmap, and still the copy's. While there are any, nothing is free.
enum NTFSShadowCopies {
  /// {3808876B-C176-4E48-B7AE-04046E6CC752}: begins the header at 0x1E00, and each block of the catalog.
  private static let mark: [UInt8] = [
    0x6B, 0x87, 0x08, 0x38, 0x76, 0xC1, 0x48, 0x4E, 0xB7, 0xAE, 0x04, 0x04, 0x6E, 0x6C, 0xC7, 0x52,
  ]
  private static let headerOffset: UInt64 = 0x1E00
  private static let catalogBlockSize = 16384
  /// A catalog of 512 copies has a few.
  private static let mostBlocks = 64

  static func check(_ volume: VolumeReader) throws(SurveyStop) {
    guard volume.length >= headerOffset + 512 else { return }
    let header = try volume.bytes(at: headerOffset, count: 512, "the header of shadow copies")
    guard header.starts(with: mark) else { return }
    var next = header.little(UInt64.self, at: 48)
    var seen = 0
    while next != 0 {
      seen += 1
      let block = try volume.bytes(at: next, count: catalogBlockSize, "the catalog of shadow copies")
      guard seen <= mostBlocks, block.starts(with: mark), block.little(UInt32.self, at: 20) == 2 else {
        throw .damaged("the catalog of shadow copies makes no sense")
      }
      // Entries of 128 bytes: 0 and 1 are empty, 2 describes a copy, 3 says where it is.
      for entry in stride(from: 128, to: catalogBlockSize, by: 128)
      where block.little(UInt64.self, at: entry) > 1 {
        throw .unsupported("shadow copies (VSS) hold clusters that the bitmap calls free")
      }
      next = block.little(at: 40)
    }
  }
}
