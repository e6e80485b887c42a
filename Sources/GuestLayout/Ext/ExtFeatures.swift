/// The feature words of an ext superblock (fs/ext4/ext4.h), and those that are understood here.
///
/// A flag that is not understood makes the whole volume used, in whichever word it stands: flags that are compatible for
/// whoever mounts the volume may still change what its bitmaps mean.
struct ExtFeatures: Sendable, Equatable {
  var compatible: UInt32
  var incompatible: UInt32
  var readOnlyCompatible: UInt32

  static let hasJournal: UInt32 = 0x4
  static let sparseSuper2: UInt32 = 0x200
  /// Directory preallocation, imagic, journal, attributes, resize inode, directory index, sparse_super2, fast_commit,
  /// stable_inodes, orphan_file.
  static let knownCompatible: UInt32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x200 | 0x400 | 0x800 | 0x1000

  static let compression: UInt32 = 0x1
  static let needsRecovery: UInt32 = 0x4
  static let journalDevice: UInt32 = 0x8
  static let metaBlockGroups: UInt32 = 0x10
  static let extents: UInt32 = 0x40
  static let is64Bit: UInt32 = 0x80
  static let multipleMountProtection: UInt32 = 0x100
  static let checksumSeed: UInt32 = 0x2000
  /// File types, recovery, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, checksum seed, large directories, inline data,
  /// encryption (of contents and names: the bitmaps stay readable), casefold.
  static let knownIncompatible: UInt32 =
    0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000

  static let sparseSuper: UInt32 = 0x1
  static let groupChecksums: UInt32 = 0x10
  static let clusters: UInt32 = 0x200
  static let metadataChecksums: UInt32 = 0x400
  static let orphansPresent: UInt32 = 0x10000
  /// sparse_super, large_file, btree_dir, huge_file, group checksums, dir_nlink, extra_isize, quota, bigalloc,
  /// metadata_csum, read-only, project, shared_blocks, verity, orphan_present.
  static let knownReadOnlyCompatible: UInt32 =
    0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x8000
    | 0x10000

  func has(compatible flag: UInt32) -> Bool { compatible & flag != 0 }
  func has(incompatible flag: UInt32) -> Bool { incompatible & flag != 0 }
  func has(readOnly flag: UInt32) -> Bool { readOnlyCompatible & flag != 0 }

  /// Descriptors carry a checksum, and flags that mean something.
  var hasGroupChecksums: Bool {
    has(readOnly: ExtFeatures.groupChecksums) || has(readOnly: ExtFeatures.metadataChecksums)
  }

  /// The first flag that is not understood, as `incompatible 0x800`.
  var unknown: String? {
    for (name, flags) in [
      ("incompatible", incompatible & ~ExtFeatures.knownIncompatible),
      ("read-only compatible", readOnlyCompatible & ~ExtFeatures.knownReadOnlyCompatible),
      ("compatible", compatible & ~ExtFeatures.knownCompatible),
    ] where flags != 0 {
      return "\(name) 0x\(String(flags, radix: 16))"
    }
    return nil
  }
}
