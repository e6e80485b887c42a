import Storage

/// Looks for the marks of all formats: where two formats left theirs, neither is believed.
enum Signatures {
  /// What left its marks, each once; empty where none is recognized.
  static func recognized(_ volume: VolumeReader) throws(ImageError) -> (
    systems: [GuestFileSystem], start: [UInt8]
  ) {
    let start = try volume.firstBytes(at: 0, count: FormatMark.startLength)
    var systems: [GuestFileSystem] = []
    func add(_ system: GuestFileSystem) {
      if !systems.contains(system) { systems.append(system) }
    }
    for mark in FormatMark.nearStart where mark.isIn(start) { add(mark.system) }
    if ExtSuperblock.hasMark(start), start.count >= 2048 {
      add(ExtSuperblock(Array(start[1024..<2048])).fileSystem)
    }
    if SwapSpace.mark(in: start) != nil { add(.swap) }
    for system in try farFromStart(volume) { add(system) }
    return (systems, start)
  }

  /// What left its mark on a disk as a whole, behind the partition table that is there: a program that takes a whole disk often
  /// leaves the old table in place. Only marks that no boot loader between the table and the first partition has by chance.
  static func recognized(onWholeDisk disk: VolumeReader) throws(ImageError) -> GuestFileSystem? {
    let start = try disk.firstBytes(at: 0, count: FormatMark.startLength)
    if let mark = FormatMark.nearStart.first(where: { $0.isLong && $0.isIn(start) }) { return mark.system }
    if ExtSuperblock.hasMark(start), start.count >= 2048 {
      let superblock = ExtSuperblock(Array(start[1024..<2048]))
      if superblock.isPlausible { return superblock.fileSystem }
    }
    if SwapSpace.mark(in: start) != nil { return .swap }
    return try farFromStart(disk).first
  }

  private static func farFromStart(_ volume: VolumeReader) throws(ImageError) -> [GuestFileSystem] {
    var systems: [GuestFileSystem] = []
    for mark in FormatMark.farther {
      let bytes = try volume.firstBytes(at: UInt64(mark.offset), count: mark.bytes.count)
      if bytes == mark.bytes { systems.append(mark.system) }
    }
    if try hasRAIDAtTheEnd(volume) { systems.append(.raid) }
    if try hasPoolLabel(volume) { systems.append(.zfs) }
    if try hasReplicationAtTheEnd(volume) { systems.append(.drbd) }
    return systems
  }

  /// Linux RAID of versions 0.90 (in either byte order) and 1.0, and what controllers leave (Intel's, and DDF of SNIA): the
  /// members look like the file system they hold.
  private static func hasRAIDAtTheEnd(_ volume: VolumeReader) throws(ImageError) -> Bool {
    let length = volume.length
    if length >= 1 << 17 {
      let mark = try volume.firstBytes(at: length / 65536 * 65536 - 65536, count: 4)
      if mark == FormatMark.raid || mark == FormatMark.raid.reversed() { return true }
    }
    guard length >= 16384 else { return false }
    let last = length / 512
    if try volume.firstBytes(at: (last - 16) / 8 * 8 * 512, count: 4) == FormatMark.raid { return true }
    let sectors = try volume.firstBytes(at: (last - 2) * 512, count: 516)
    return sectors.starts(with: "Intel Raid ISM Cfg Sig. ".utf8)
      || sectors.dropFirst(512).elementsEqual([0xDE, 0x11, 0xDE, 0x11])
  }

  /// An uberblock of ZFS in one of its four labels, two at each end: one a KiB, or larger and fewer, in a label's second half.
  private static func hasPoolLabel(_ volume: VolumeReader) throws(ImageError) -> Bool {
    let label: UInt64 = 256 << 10
    let end = volume.length / label * label
    var places: [UInt64] = [0, label]
    if end >= 4 * label { places += [end - 2 * label, end - label] }
    for place in places {
      let blocks = try volume.firstBytes(at: place + label / 2, count: Int(label / 2))
      let isFound = stride(from: 0, to: blocks.count - 7, by: 1024).contains {
        blocks.little(UInt64.self, at: $0) == 0x00BA_B10C || blocks.big(UInt64.self, at: $0) == 0x00BA_B10C
      }
      if isFound { return true }
    }
    return false
  }

  /// DRBD keeps what it knows in the last 4 KiB, behind the file system that it replicates.
  private static func hasReplicationAtTheEnd(_ volume: VolumeReader) throws(ImageError) -> Bool {
    guard volume.length >= 8192 else { return false }
    let mark = try volume.firstBytes(at: volume.length / 4096 * 4096 - 4096 + 60, count: 4)
    return mark.count == 4 && mark.starts(with: [0x83, 0x74, 0x02]) && (0x67...0x6E).contains(mark[3])
  }
}
