@testable import GuestLayout

/// The smallest volumes of each kind whose free space is known.
enum SeedVolumes {
  static let all: [SparseImage] = [
    ext(checksums: 0, groups: 1), ext(checksums: ExtFeatures.metadataChecksums, groups: 3),
    ext(checksums: ExtFeatures.groupChecksums, groups: 2), ntfs, swap, sleeping,
    partitioned(0x83, ntfs, 0x83, swap), partitioned(0x07, ext(checksums: 0, groups: 1), 0x82, swap),
    partitioned(0x0C, SparseImage(), 0x82, swap),
  ]

  /// Blocks of 1 KiB; groups of 256 blocks, each but the first without a bitmap where there are checksums.
  private static func ext(checksums: UInt32, groups: UInt32) -> SparseImage {
    var disk = SparseImage()
    disk.size = UInt64(groups) * 256 * 1024
    func put32(_ value: UInt32, _ offset: UInt64) { disk.putLittleEndian(value, at: 1024 + offset) }
    for (offset, value) in [
      (0x00, 8 * groups), (0x04, groups * 256 - 40), (0x14, 1), (0x20, 256), (0x24, 256), (0x28, 8),
      (0x3A, 1), (0x4C, 1),
      (0x5C, 4), (0x60, 0x40), (0x64, checksums), (0xE0, 8),
    ] as [(UInt64, UInt32)] { put32(value, offset) }
    disk.putLittleEndian(UInt16(0xEF53), at: 1024 + 0x38)
    disk.putLittleEndian(UInt16(128), at: 1024 + 0x58)
    disk.put([1], at: 1024 + 0x175)
    for group in 0..<groups {
      let first = 1 + group * 256
      // The first holds a superblock and the descriptors; group 1 a copy, and the others follow the rules of old.
      let bitmap = first + 2
      let place = 2048 + UInt64(group) * 32
      for (index, block) in [bitmap, bitmap + 1, bitmap + 2].enumerated() {
        disk.putLittleEndian(block, at: place + UInt64(index) * 4)
      }
      if group > 0, group < groups - 1, checksums != 0 {
        disk.putLittleEndian(UInt16(2), at: place + 0x12)
        disk.putLittleEndian(UInt16(256 - 5), at: place + 0x0C)
      } else {
        disk.put([0xFF, group == 0 ? 0x0F : 0], at: UInt64(bitmap) * 1024)
      }
    }
    // Inode 8, in the only block of the first inode table (block 5), with an extent that begins in block 7.
    let inode = UInt64(5 * 1024 + 7 * 128)
    disk.putLittleEndian(UInt32(0x80000), at: inode + 0x20)
    disk.putLittleEndian(UInt16(0xF30A), at: inode + 0x28)
    disk.putLittleEndian(UInt16(1), at: inode + 0x2A)
    disk.putLittleEndian(UInt32(7), at: inode + 0x3C)
    disk.put([0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 4, 0], at: 7 * 1024)
    disk.repairExtChecksums()
    return disk
  }

  /// Clusters of 512 bytes: boot sector, file table at 16 of eight records, its copy at 64, log at 80, bitmap at 120, a block of
  /// the root directory at 124.
  private static var ntfs: SparseImage {
    var disk = SparseImage()
    disk.size = 1 << 20
    disk.put(Array("NTFS    ".utf8), at: 3)
    disk.putLittleEndian(UInt16(512), at: 0x0B)
    disk.put([1], at: 0x0D)
    disk.putLittleEndian(UInt64(2040), at: 0x28)
    disk.putLittleEndian(UInt64(16), at: 0x30)
    disk.putLittleEndian(UInt64(64), at: 0x38)
    disk.put([0xF6], at: 0x40)
    disk.put([0x55, 0xAA], at: 510)
    disk.put([UInt8](repeating: 0xFF, count: 16 << 10), at: 80 * 512)
    disk.put([UInt8](repeating: 0xFF, count: 17), at: 120 * 512)
    let information: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0]
    let top: [UInt8] =
      [0x30, 0, 0, 0, 1, 0, 0, 0, 0, 4, 0, 0, 2, 0, 0, 0] + indexHeader(length: 0x28)
      + lastEntry(subnode: true)
    record(&disk, 0, [stored(0x80, start: 16, clusters: 16, size: 8192)])
    record(&disk, 2, [stored(0x80, start: 80, clusters: 32, size: 16384)])
    record(&disk, 3, [resident(0x70, information)])
    record(
      &disk, 5,
      [
        resident(0x90, top, name: "$I30"), stored(0xA0, start: 124, clusters: 2, size: 1024, name: "$I30"),
        resident(0xB0, [1, 0, 0, 0, 0, 0, 0, 0], name: "$I30"),
      ])
    record(&disk, 6, [stored(0x80, start: 120, clusters: 1, size: 256)])
    record(&disk, 7, [resident(0x80, Array("wake".utf8))])
    var block = [UInt8](repeating: 0, count: 1024)
    block.replaceSubrange(0..<8, with: Array("INDX".utf8) + [0x28, 0, 3, 0])
    let name: [UInt8] = utf16("hiberfil.sys")
    var key = [UInt8](repeating: 0, count: 0x40)
    key += [12, 1]
    key += name
    var entry: [UInt8] = [7, 0, 0, 0, 0, 0, 1, 0, 0x70, 0, UInt8(key.count), 0, 0, 0, 0, 0]
    entry += key
    let padded = entry + [UInt8](repeating: 0, count: 0x70 - entry.count)
    let content =
      indexHeader(length: 0x28 + 0x70 + 16, first: 0x28) + [UInt8](repeating: 0, count: 0x18) + padded
    block.replaceSubrange(0x18..<(0x18 + content.count), with: content)
    block.replaceSubrange(
      (0x18 + content.count)..<(0x18 + content.count + 16), with: lastEntry(subnode: false))
    disk.put(block, at: 124 * 512)
    return disk
  }

  private static func indexHeader(length: UInt8, first: UInt8 = 0x10) -> [UInt8] {
    [first, 0, 0, 0, length, 0, 0, 0, length, 0, 0, 0, 1, 0, 0, 0]
  }

  private static func lastEntry(subnode: Bool) -> [UInt8] {
    let length: UInt8 = subnode ? 0x18 : 0x10
    return [0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0, 0, subnode ? 3 : 2, 0, 0, 0]
      + (subnode ? [0, 0, 0, 0, 0, 0, 0, 0] : [])
  }

  private static func record(_ disk: inout SparseImage, _ number: UInt64, _ attributes: [[UInt8]]) {
    var bytes = Array("FILE".utf8) + [0x30, 0, 3, 0] + [UInt8](repeating: 0, count: 0x38 - 8)
    bytes[0x10] = 1
    bytes[0x14] = 0x38
    bytes[0x16] = 1
    for attribute in attributes { bytes += attribute }
    bytes += [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]
    bytes[0x18] = UInt8(bytes.count & 0xFF)
    bytes[0x19] = UInt8(bytes.count >> 8)
    disk.put(bytes, at: 16 * 512 + number * 1024)
  }

  private static func attribute(
    _ type: UInt8, isStored: Bool, name: String, _ fields: [UInt8], _ value: [UInt8]
  ) -> [UInt8] {
    let units: [UInt8] = utf16(name)
    let nameOffset = 16 + fields.count
    let valueOffset = (nameOffset + units.count + 7) / 8 * 8
    let length = (valueOffset + value.count + 7) / 8 * 8
    var bytes: [UInt8] = [type, 0, 0, 0, UInt8(length & 0xFF), UInt8(length >> 8), 0, 0, isStored ? 1 : 0]
    bytes += [UInt8(units.count / 2), UInt8(nameOffset), 0, 0, 0, 0, 0] + fields + units
    bytes += [UInt8](repeating: 0, count: valueOffset - bytes.count) + value
    bytes[isStored ? 0x20 : 0x14] = UInt8(valueOffset)
    return bytes + [UInt8](repeating: 0, count: length - bytes.count)
  }

  private static func resident(_ type: UInt8, _ value: [UInt8], name: String = "") -> [UInt8] {
    attribute(type, isStored: false, name: name, [UInt8(value.count), 0, 0, 0, 0, 0, 0, 0], value)
  }

  private static func stored(_ type: UInt8, start: UInt8, clusters: UInt8, size: UInt16, name: String = "")
    -> [UInt8]
  {
    let number: [UInt8] = [UInt8(size & 0xFF), UInt8(size >> 8), 0, 0, 0, 0, 0, 0]
    var fields = [UInt8](repeating: 0, count: 24)
    fields[8] = clusters - 1
    for _ in 0..<3 { fields += number }
    return attribute(type, isStored: true, name: name, fields, [0x21, clusters, start, 0, 0])
  }

  private static func utf16(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    for unit in text.utf16 { bytes += [UInt8(truncatingIfNeeded: unit), 0] }
    return bytes
  }

  private static var swap: SparseImage {
    var disk = SparseImage()
    disk.size = 1 << 20
    disk.put([1, 0, 0, 0, 200, 0, 0, 0, 2, 0, 0, 0], at: 1024)
    disk.put([5, 0, 0, 0, 9, 0, 0, 0], at: 1536)
    disk.put(Array("SWAPSPACE2".utf8), at: 4086)
    return disk
  }

  private static var sleeping: SparseImage {
    var disk = swap
    disk.put(Array("S1SUSPEND".utf8) + [0], at: 4086)
    return disk
  }

  /// Two of them, in partitions of these types.
  private static func partitioned(
    _ firstType: UInt8, _ first: SparseImage, _ secondType: UInt8, _ second: SparseImage
  ) -> SparseImage {
    var disk = SparseImage()
    disk.size = 4 << 20
    for (index, (start, type, volume)) in [(256, firstType, first), (4096, secondType, second)].enumerated() {
      let entry = 446 + UInt64(index) * 16
      disk.put([type], at: entry + 4)
      disk.putLittleEndian(UInt32(start), at: entry + 8)
      disk.putLittleEndian(UInt32(2048), at: entry + 12)
      for number in volume.pageNumbers {
        disk.put(volume.bytes(at: number * 4096, count: 4096), at: UInt64(start) * 512 + number * 4096)
      }
    }
    disk.put([0x55, 0xAA], at: 510)
    return disk
  }
}
