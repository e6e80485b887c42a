@testable import GuestLayout

/// Where the numbers of file systems are, in a disk without a partition table, and their checksums.
extension SparseImage {
  var spaceFields: [Field] {
    func fields(_ base: UInt64, _ places: [(UInt64, Int)]) -> [Field] {
      places.map { Field(offset: base + $0.0, width: $0.1, isBigEndian: false) }
    }
    var result: [Field] = []
    if littleEndian(UInt16.self, at: 1080) == 0xEF53 {
      result += fields(
        1024,
        [
          (0x04, 4), (0x14, 4), (0x18, 4), (0x1C, 4), (0x20, 4), (0x24, 4), (0x28, 4), (0x3A, 2), (0x4C, 4),
          (0x58, 2),
          (0x5C, 4), (0x60, 4), (0x64, 4), (0xCE, 2), (0xE0, 4), (0xE8, 4), (0xFE, 2), (0x104, 4), (0x150, 4),
          (0x168, 8),
          (0x175, 1), (0x194, 4), (0x24C, 4), (0x250, 4),
        ])
      for index in 0..<min(extGroups, 4) {
        result += fields(
          extDescriptors + index * extDescriptorSize,
          [(0, 4), (4, 4), (8, 4), (0x0C, 2), (0x12, 2), (0x20, 4), (0x2C, 2)])
      }
      let table = UInt64(littleEndian(UInt32.self, at: extDescriptors + 8)) &* extBlockSize
      if table < 1 << 40 {
        // The journal's inode: flags, and a tree of extents.
        let inode = table + 7 * UInt64(littleEndian(UInt16.self, at: 1024 + 0x58))
        result += fields(
          inode, [(0x20, 4), (0x28, 4), (0x2A, 2), (0x2E, 2), (0x34, 4), (0x3A, 2), (0x3C, 4)])
      }
    }
    if bytes(at: 3, count: 4) == Array("NTFS".utf8) {
      result += fields(0, [(0x0B, 2), (0x0D, 1), (0x28, 8), (0x30, 8), (0x38, 8), (0x40, 1)])
    }
    if bytes(at: 4086, count: 10) == Array("SWAPSPACE2".utf8) {
      result += fields(1024, [(0, 4), (4, 4), (8, 4), (512, 4), (516, 4), (520, 4)])
    }
    // Records of NTFS, wherever they are: the header, and the attributes from the first on.
    for number in pageNumbers.prefix(64) {
      for place in stride(from: number * 4096, to: number * 4096 + 4096, by: 1024)
      where bytes(at: place, count: 4) == Array("FILE".utf8) {
        result += fields(place, [(4, 2), (6, 2), (0x10, 2), (0x14, 2), (0x16, 2), (0x18, 4), (0x20, 8)])
        var attribute = place + UInt64(littleEndian(UInt16.self, at: place + 0x14))
        for _ in 0..<6 where attribute < place + 960 {
          result += fields(
            attribute,
            [
              (0, 4), (4, 4), (8, 1), (9, 1), (0x0A, 2), (0x0C, 2), (0x10, 4), (0x14, 2), (0x18, 8),
              (0x20, 2), (0x28, 4),
              (0x30, 8), (0x38, 8), (0x40, 2), (0x42, 2), (0x44, 2), (0x48, 8), (0x50, 8),
            ])
          attribute += UInt64(littleEndian(UInt32.self, at: attribute + 4) & 0x3F8)
        }
      }
    }
    return result
  }

  private var extBlockSize: UInt64 { 1024 << UInt64(littleEndian(UInt32.self, at: 1024 + 0x18) & 7) }
  private var extDescriptors: UInt64 { max(2048, extBlockSize) }
  private var extDescriptorSize: UInt64 {
    let is64Bit = littleEndian(UInt32.self, at: 1024 + 0x60) & 0x80 != 0
    return is64Bit ? UInt64(min(max(littleEndian(UInt16.self, at: 1024 + 0xFE), 32), 1024)) : 32
  }
  private var extGroups: UInt64 {
    let perGroup = UInt64(max(littleEndian(UInt32.self, at: 1024 + 0x20), 1))
    return UInt64(littleEndian(UInt32.self, at: 1024 + 4)) / perGroup + 1
  }

  /// The free counts and checksums of the first groups, and the superblock's checksum, as the volume says it has them.
  mutating func repairExtChecksums() {
    guard littleEndian(UInt16.self, at: 1080) == 0xEF53 else { return }
    let superblock = ExtSuperblock(bytes(at: 1024, count: 1024))
    if superblock.features.has(readOnly: ExtFeatures.metadataChecksums) {
      putLittleEndian(ExtChecksum.crc32c(~0, superblock.bytes[..<0x3FC]), at: 1024 + 0x3FC)
    }
    guard let geometry = try? ExtGeometry(superblock, volumeLength: size) else { return }
    for group in 0..<min(geometry.groupCount, 8) {
      let index = group / geometry.descriptorsPerBlock
      let place =
        geometry.descriptorBlock(index) * geometry.blockSize + group % geometry.descriptorsPerBlock
        * geometry.descriptorSize
      let isWide = geometry.descriptorSize >= 64
      let bitmap = UInt64(littleEndian(UInt32.self, at: place)) * geometry.blockSize
      let hasBitmap = littleEndian(UInt16.self, at: place + 0x12) & 2 == 0 && bitmap < size
      if hasBitmap {
        let bits = bytes(at: bitmap, count: Int(geometry.blockSize))
        let free = UInt32(UsedBits.clearCount(in: bits, count: geometry.clusters(inGroup: group)))
        putLittleEndian(UInt16(truncatingIfNeeded: free), at: place + 0x0C)
        if isWide { putLittleEndian(UInt16(free >> 16), at: place + 0x2C) }
        if geometry.features.has(readOnly: ExtFeatures.metadataChecksums) {
          let sum = ExtChecksum.crc32c(geometry.checksumSeed, bits[..<Int(geometry.pieces.unitsPerPiece / 8)])
          putLittleEndian(UInt16(truncatingIfNeeded: sum), at: place + 0x18)
          if isWide { putLittleEndian(UInt16(sum >> 16), at: place + 0x38) }
        }
      }
      let bytes = bytes(at: place, count: Int(geometry.descriptorSize))
      putLittleEndian(ExtGroupDescriptor.checksum(of: bytes, group: group, geometry), at: place + 0x1E)
    }
  }
}
