/// One place of a disk where a file system may be: a partition, or the whole disk where there is no partition table.
public struct GuestVolume: Sendable {
  /// The partition's number as in `Partition`; nil for a disk without a table.
  public let number: Int?
  /// Bytes from the start of the disk; not empty.
  public let range: Range<UInt64>
  public let fileSystem: GuestFileSystem
  public let freeSpace: FreeSpace
  /// What else is to be said, each a part of a sentence: `2 of 80 block groups are damaged and count as used`.
  public let notes: [String]

  /// What it tells of the machine.
  let trace: MachineTrace

  /// Where the free space is described; nil exactly where it is not known.
  let map: SpaceMap?

  init(
    number: Int?, range: Range<UInt64>, fileSystem: GuestFileSystem, freeSpace: FreeSpace,
    notes: [String] = [],
    trace: MachineTrace, map: SpaceMap? = nil
  ) {
    self.number = number
    self.range = range
    self.fileSystem = fileSystem
    self.freeSpace = freeSpace
    self.notes = notes
    self.trace = trace
    self.map = map
  }

  /// The volume with all of it counted as used.
  func used(_ obstacle: SpaceObstacle) -> GuestVolume {
    GuestVolume(
      number: number, range: range, fileSystem: fileSystem, freeSpace: .unknown(obstacle), trace: trace)
  }

  func noted(_ note: String) -> GuestVolume {
    GuestVolume(
      number: number, range: range, fileSystem: fileSystem, freeSpace: freeSpace, notes: notes + [note],
      trace: trace, map: map)
  }

  /// `partition 2`, in a sentence.
  var place: String { number.map { "partition \($0)" } ?? "this disk" }
}

/// Whether the free space of a volume is known.
public enum FreeSpace: Sendable, Equatable {
  /// It is; so many bytes of it are free.
  case known(bytes: UInt64)
  /// It is not: all of the volume counts as used.
  case unknown(SpaceObstacle)
}

/// Why all of a volume counts as used.
public struct SpaceObstacle: Error, Sendable, Equatable, CustomStringConvertible {
  public enum Kind: String, Sendable {
    /// The file system was not closed: its structures are not yet what they will be.
    case dirty
    /// A system that sleeps will go on from what it remembers of the disk.
    case hibernated
    /// A swap area of a machine that nothing shows to be shut down.
    case inUse = "in-use"
    case encrypted
    /// Nothing is recognized here.
    case unknown
    /// Recognized, but its free space is not read.
    case unsupported
    /// Structures that contradict themselves, or each other.
    case damaged
    /// Two claims on the same bytes: overlapping partitions, or the marks of two formats.
    case contradictory
  }

  public let kind: Kind
  /// A part of a sentence, without a full stop: `dirty: its journal is to be replayed`.
  public let description: String

  init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }

  static func dirty(_ what: String) -> SpaceObstacle { SpaceObstacle(.dirty, "dirty: \(what)") }
  static func damaged(_ what: String) -> SpaceObstacle { SpaceObstacle(.damaged, "damaged: \(what)") }
  static func unsupported(_ what: String) -> SpaceObstacle { SpaceObstacle(.unsupported, what) }
}

/// What a volume is, by its marks.
public enum GuestFileSystem: String, Sendable, CaseIterable, CustomStringConvertible {
  case ntfs, ext2, ext3, ext4, swap
  case xfs, btrfs, fat, exfat, refs, f2fs, jfs, reiserfs, nilfs2, bcachefs, gfs2, ocfs2, erofs, squashfs
  case ufs, hfs, apfs, vmfs, vxfs, hpfs, befs, iso9660, udf
  case lvm, raid, luks, bitlocker, zfs, bcache, vdo, stratis, bluestore, drbd
  case oracleASM = "oracle-asm"
  /// The hashes or the checksums of another volume.
  case verity
  /// Part of a Windows dynamic disk, or of a storage pool.
  case dynamicDisk = "dynamic-disk"
  case storageSpaces = "storage-spaces"
  /// The partition table of another system.
  case diskLabel = "disk-label"
  case unknown

  public var description: String { rawValue }

  var isEncrypted: Bool { self == .luks || self == .bitlocker }
}
