import Storage

/// The marks by which formats are known. All are looked for: where two formats left theirs, neither is believed.
enum Signatures {
  /// A mark at an offset.
  private static let marks: [(system: GuestFileSystem, offset: Int, mark: [UInt8])] = [
    (.ntfs, 3, Array("NTFS    ".utf8)),
    (.exfat, 3, Array("EXFAT   ".utf8)),
    (.bitlocker, 3, Array("-FVE-FS-".utf8)),
    (.refs, 3, Array("ReFS\0\0\0\0".utf8)),
    (.luks, 0, Array("LUKS".utf8) + [0xBA, 0xBE]),
    (.xfs, 0, Array("XFSB".utf8)),
    (.btrfs, 0x10040, Array("_BHRfS_M".utf8)),
    (.f2fs, 1024, [0x10, 0x20, 0xF5, 0xF2]),
    (.jfs, 0x8000, Array("JFS1".utf8)),
    (.reiserfs, 0x10034, Array("ReIsEr".utf8)),
    (.bcache, 4096 + 24, [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA]),
    (.lvm, 0x000, Array("LABELONE".utf8)), (.lvm, 0x200, Array("LABELONE".utf8)),
    (.lvm, 0x400, Array("LABELONE".utf8)), (.lvm, 0x600, Array("LABELONE".utf8)),
    (.fat, 54, Array("FAT12   ".utf8)), (.fat, 54, Array("FAT16   ".utf8)),
    (.fat, 82, Array("FAT32   ".utf8)),
    // Linux RAID with its superblock at the start, or 4 KiB behind it.
    (.raid, 0, raidMark), (.raid, 4096, raidMark),
  ]
  private static let raidMark: [UInt8] = [0xFC, 0x4E, 0x2B, 0xA9]
  /// Bytes from the start that hold all marks but those at the end.
  static let startLength = 0x10040 + 1024

  /// What left its marks, each once; empty where none is recognized.
  static func recognized(_ volume: VolumeReader) throws(ImageError) -> (
    systems: [GuestFileSystem], start: [UInt8]
  ) {
    let start = try volume.firstBytes(at: 0, count: startLength)
    var systems: [GuestFileSystem] = []
    func add(_ system: GuestFileSystem) {
      if !systems.contains(system) { systems.append(system) }
    }
    for (system, offset, mark) in marks
    where start.count >= offset + mark.count && start[offset..<(offset + mark.count)].elementsEqual(mark) {
      add(system)
    }
    if ExtSuperblock.hasMark(start), start.count >= 2048 {
      add(ExtSuperblock(Array(start[1024..<2048])).fileSystem)
    }
    if SwapSpace.mark(in: start) != nil { add(.swap) }
    if try hasRAIDAtTheEnd(volume) { add(.raid) }
    if try hasPoolLabel(volume) { add(.zfs) }
    return (systems, start)
  }

  /// Linux RAID of versions 0.90 and 1.0: its members look like the file system they hold.
  private static func hasRAIDAtTheEnd(_ volume: VolumeReader) throws(ImageError) -> Bool {
    var places: [UInt64] = []
    if volume.length >= 1 << 17 { places.append(volume.length / 65536 * 65536 - 65536) }
    if volume.length >= 16384 { places.append((volume.length / 512 - 16) / 8 * 8 * 512) }
    for place in places where try volume.firstBytes(at: place, count: 4) == raidMark { return true }
    return false
  }

  /// An uberblock of ZFS in its first label: one a KiB, or larger and fewer, from 128 KiB on.
  private static func hasPoolLabel(_ volume: VolumeReader) throws(ImageError) -> Bool {
    let blocks = try volume.firstBytes(at: 128 << 10, count: 128 << 10)
    return stride(from: 0, to: blocks.count - 7, by: 1024).contains {
      blocks.little(UInt64.self, at: $0) == 0x00BA_B10C || blocks.big(UInt64.self, at: $0) == 0x00BA_B10C
    }
  }
}

extension GuestFileSystem {
  /// What a partition's type says its content cannot be: a file system that begins with the partition.
  init?(typeOf partition: Partition) {
    switch partition.type {
    case .mbr(0x42): self = .dynamicDisk
    case .mbr(0x8E): self = .lvm
    case .mbr(0xFD): self = .raid
    case .mbr: return nil
    case .gpt(let type):
      switch type.description {
      case "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "af9b60a0-1431-4f62-bc68-3311714a69ad": self = .dynamicDisk
      case "e75caf8f-f680-4cee-afa3-b001e56efc2d": self = .storageSpaces
      case "e6d6d379-f507-44c2-a23c-238f2a3df928": self = .lvm
      case "a19d880f-05fc-4d3b-a006-743f0f84911e": self = .raid
      default: return nil
      }
    }
  }
}
