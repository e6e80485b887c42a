/// A mark by which a format is known: bytes at an offset from the start of its place.
///
/// Marks of two or three bytes that ordinary boot code may hold by chance count in a partition, where another mark beside them
/// makes both doubtful, and not for a whole disk that has a partition table (`isLong` false).
struct FormatMark: Sendable {
  let system: GuestFileSystem
  let offset: Int
  let bytes: [UInt8]
  var isLong = true

  /// Bytes from the start that hold all of `nearStart`.
  static let startLength = 0x10000 + 2048

  /// Those in the first `startLength` bytes.
  static let nearStart: [FormatMark] = fileSystems + otherFileSystems + partsOfSomething + labels

  /// Those behind.
  static let farther: [FormatMark] =
    ufs(at: 262144) + [
      FormatMark(system: .vmfs, offset: 1 << 20, bytes: [0x0D, 0xD0, 0x01, 0xC0]),
      FormatMark(system: .vmfs, offset: 2 << 20, bytes: [0x5E, 0xF1, 0xAB, 0x2F]),
    ]

  func isIn(_ start: [UInt8]) -> Bool {
    start.count >= offset + bytes.count && start[offset..<(offset + bytes.count)].elementsEqual(bytes)
  }

  private static func text(
    _ system: GuestFileSystem, _ offset: Int, _ text: String, isLong: Bool = true
  ) -> FormatMark {
    FormatMark(system: system, offset: offset, bytes: Array(text.utf8), isLong: isLong)
  }

  /// File systems of Windows and Linux. (ext and swap have checks of their own.)
  private static let fileSystems: [FormatMark] = [
    text(.ntfs, 3, "NTFS    "), text(.exfat, 3, "EXFAT   "), text(.bitlocker, 3, "-FVE-FS-"),
    text(.refs, 3, "ReFS\0\0\0\0"),
    // Boot managers keep a copy of these words in an MBR.
    text(.fat, 54, "FAT12   ", isLong: false), text(.fat, 54, "FAT16   ", isLong: false),
    text(.fat, 82, "FAT32   ", isLong: false),
    text(.xfs, 0, "XFSB"), text(.btrfs, 0x10040, "_BHRfS_M"),
    FormatMark(system: .f2fs, offset: 1024, bytes: [0x10, 0x20, 0xF5, 0xF2]),
    FormatMark(system: .f2fs, offset: 4096 + 1024, bytes: [0x10, 0x20, 0xF5, 0xF2]),
    text(.jfs, 0x8000, "JFS1"),
    text(.reiserfs, 0x10034, "ReIsEr"), text(.reiserfs, 0x2034, "ReIsEr"),
    text(.reiserfs, 0x10000, "ReIsEr4"),
    // Revision 2, and 0x3434.
    FormatMark(system: .nilfs2, offset: 1024, bytes: [2, 0, 0, 0, 0, 0, 0x34, 0x34]),
    FormatMark(system: .gfs2, offset: 0x10000, bytes: [0x01, 0x16, 0x19, 0x70]),
    text(.ocfs2, 1024, "OCFSV2"), text(.ocfs2, 2048, "OCFSV2"), text(.ocfs2, 4096, "OCFSV2"),
    text(.ocfs2, 8192, "OCFSV2"), text(.ocfs2, 8192, "OracleCFS"),
    FormatMark(system: .erofs, offset: 1024, bytes: [0xE2, 0xE1, 0xF5, 0xE0]),
    text(.squashfs, 0, "hsqs"), text(.squashfs, 0, "sqsh"),
    FormatMark(
      system: .bcachefs, offset: 4096 + 24, bytes: [0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9]),
  ]

  private static let otherFileSystems: [FormatMark] =
    [0, 8192, 65536].flatMap { ufs(at: $0) } + [
      text(.hfs, 1024, "BD", isLong: false), text(.hfs, 1024, "H+\0\u{4}"), text(.hfs, 1024, "HX\0\u{5}"),
      text(.apfs, 32, "NXSB"),
      FormatMark(system: .vxfs, offset: 1024, bytes: [0xF5, 0xFC, 0x01, 0xA5]),
      FormatMark(system: .vxfs, offset: 8192, bytes: [0xA5, 0x01, 0xFC, 0xF5]),
      FormatMark(system: .hpfs, offset: 8192, bytes: [0x49, 0xE8, 0x95, 0xF9]),
      text(.befs, 32, "BFS1"), text(.befs, 32, "1SFB"), text(.befs, 544, "BFS1"), text(.befs, 544, "1SFB"),
      text(.iso9660, 0x8001, "CD001"), text(.udf, 0x8001, "BEA01"), text(.udf, 0x8801, "BEA01"),
      text(.udf, 0x8801, "NSR02"), text(.udf, 0x8801, "NSR03"),
    ]

  /// What a system keeps of a disk that is a part of something larger, or holds something inside.
  private static let partsOfSomething: [FormatMark] = [
    FormatMark(system: .luks, offset: 0, bytes: Array("LUKS".utf8) + [0xBA, 0xBE]),
    FormatMark(system: .luks, offset: 0x4000, bytes: Array("SKUL".utf8) + [0xBA, 0xBE]),
    FormatMark(system: .luks, offset: 0x8000, bytes: Array("SKUL".utf8) + [0xBA, 0xBE]),
    text(.lvm, 0x000, "LABELONE"), text(.lvm, 0x200, "LABELONE"), text(.lvm, 0x400, "LABELONE"),
    text(.lvm, 0x600, "LABELONE"),
    // LVM of the first kind: HM, and its version.
    text(.lvm, 0, "HM\u{1}\0"), text(.lvm, 0, "HM\u{2}\0"), text(.lvm, 0, "SnAp"),
    // Linux RAID with its superblock at the start, or 4 KiB behind it.
    FormatMark(system: .raid, offset: 0, bytes: raid), FormatMark(system: .raid, offset: 4096, bytes: raid),
    FormatMark(system: .bcache, offset: 4096 + 24, bytes: [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA]),
    text(.vdo, 0, "dmvdo001"), text(.stratis, 512 + 4, "!Stra0tis"), text(.stratis, 9 * 512 + 4, "!Stra0tis"),
    text(.bluestore, 0, "bluestore block device"), text(.oracleASM, 32, "ORCLDISK"),
    text(.verity, 0, "verity\0\0"), text(.verity, 0, "integrt\0"),
  ]

  /// Partition tables of other systems, and a GPT without its protective MBR: whatever else is marked at the start of such a
  /// disk is a leftover.
  private static let labels: [FormatMark] = [
    text(.diskLabel, 512, "EFI PART", isLong: false), text(.diskLabel, 4096, "EFI PART", isLong: false),
    // Of BSD, Solaris, Apple, Amiga, SGI and Sun.
    FormatMark(system: .diskLabel, offset: 0, bytes: [0x57, 0x45, 0x56, 0x82], isLong: false),
    FormatMark(system: .diskLabel, offset: 64, bytes: [0x57, 0x45, 0x56, 0x82], isLong: false),
    FormatMark(system: .diskLabel, offset: 512, bytes: [0x57, 0x45, 0x56, 0x82], isLong: false),
    FormatMark(system: .diskLabel, offset: 512 + 12, bytes: [0xEE, 0xDE, 0x0D, 0x60], isLong: false),
    text(.diskLabel, 512, "PM\0\0", isLong: false), text(.diskLabel, 0, "RDSK", isLong: false),
    FormatMark(system: .diskLabel, offset: 0, bytes: [0x0B, 0xE5, 0xA9, 0x41], isLong: false),
    FormatMark(system: .diskLabel, offset: 508, bytes: [0xDA, 0xBE], isLong: false),
  ]

  /// The superblock of Linux RAID begins with it.
  static let raid: [UInt8] = [0xFC, 0x4E, 0x2B, 0xA9]

  /// A superblock of UFS at one of the places where it may be: one of its marks at 1372, in either byte order.
  private static func ufs(at place: Int) -> [FormatMark] {
    [0x0001_1954, 0x1954_0119, 0x0009_5014, 0x0019_5612, 0x0523_1994, 0x7C26_9D38].flatMap { (mark: UInt32) in
      [mark.littleEndian, mark.bigEndian].map { number in
        FormatMark(system: .ufs, offset: place + 1372, bytes: withUnsafeBytes(of: number) { Array($0) })
      }
    }
  }
}
