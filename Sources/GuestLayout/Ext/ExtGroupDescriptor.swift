/// One group's descriptor (struct ext4_group_desc): where its bitmaps and inode table lie, and what it counts.
///
/// Invariant: the blocks named lie between the first data block and the end of the file system.
struct ExtGroupDescriptor: Sendable {
  let blockBitmap: UInt64
  let inodeBitmap: UInt64
  let inodeTable: UInt64
  /// Clusters.
  let freeCount: Int
  /// The bitmap was never written: what is used in the group follows from where its structures lie.
  let hasNoBitmap: Bool
  /// 16 or 32 bits of the bitmap's checksum.
  let bitmapChecksum: UInt32
  let checksumMask: UInt32

  init(_ bytes: ArraySlice<UInt8>, group: UInt64, _ geometry: ExtGeometry) throws(SurveyStop) {
    let bytes = Array(bytes)
    guard ExtGroupDescriptor.isIntact(bytes, group: group, geometry) else {
      throw .damaged("the descriptor of block group \(group) has a wrong checksum")
    }
    let isWide = bytes.count >= 64
    func block(_ low: Int, _ high: Int) -> UInt64 {
      UInt64(bytes.little(UInt32.self, at: low))
        | (isWide ? UInt64(bytes.little(UInt32.self, at: high)) << 32 : 0)
    }
    func half(_ low: Int, _ high: Int) -> UInt32 {
      UInt32(bytes.little(UInt16.self, at: low))
        | (isWide ? UInt32(bytes.little(UInt16.self, at: high)) << 16 : 0)
    }
    blockBitmap = block(0x00, 0x20)
    inodeBitmap = block(0x04, 0x24)
    inodeTable = block(0x08, 0x28)
    freeCount = Int(half(0x0C, 0x2C))
    hasNoBitmap = geometry.features.hasGroupChecksums && bytes.little(UInt16.self, at: 0x12) & 2 != 0
    bitmapChecksum = half(0x18, 0x38)
    checksumMask = isWide ? ~0 : 0xFFFF
    for (first, count) in structures(geometry) {
      guard first >= geometry.firstDataBlock, first < geometry.blockCount,
        count <= geometry.blockCount - first
      else {
        throw .damaged("a structure of block group \(group) lies outside the file system")
      }
    }
  }

  /// First block and number of blocks of what the group keeps of itself.
  func structures(_ geometry: ExtGeometry) -> [(first: UInt64, count: UInt64)] {
    [(blockBitmap, 1), (inodeBitmap, 1), (inodeTable, geometry.inodeTableBlocks)]
  }

  private static func isIntact(_ bytes: [UInt8], group: UInt64, _ geometry: ExtGeometry) -> Bool {
    guard geometry.features.hasGroupChecksums else { return true }
    return checksum(of: bytes, group: group, geometry) == bytes.little(UInt16.self, at: 0x1E)
  }

  /// Over the volume's id, the group's number, and the descriptor but for the checksum itself.
  static func checksum(of bytes: [UInt8], group: UInt64, _ geometry: ExtGeometry) -> UInt16 {
    let number = UInt32(truncatingIfNeeded: group)
    if geometry.features.has(readOnly: ExtFeatures.metadataChecksums) {
      var sum = ExtChecksum.crc32c(geometry.checksumSeed, number)
      sum = ExtChecksum.crc32c(sum, bytes[..<0x1E])
      sum = ExtChecksum.crc32c(sum, [0, 0])
      return UInt16(truncatingIfNeeded: ExtChecksum.crc32c(sum, bytes[0x20...]))
    }
    var sum = ExtChecksum.crc16(~0, geometry.uuid)
    sum = ExtChecksum.crc16(sum, withUnsafeBytes(of: number.littleEndian) { Array($0) })
    sum = ExtChecksum.crc16(sum, bytes[..<0x1E])
    return ExtChecksum.crc16(sum, bytes[0x20...])
  }
}
