import Storage

/// What a volume tells of the machine whose disk it is on: asleep or saved, a machine goes on where it was, with the pages that
/// it swapped out. Nothing in a swap area shows whether they will be asked for.
enum MachineTrace: Sendable {
  /// A file system that shows when it is mounted was closed in order.
  case down
  /// No system runs on it, or it shows nothing.
  case nothing
  /// It was not closed, or nobody can tell.
  case mayRun

  /// Of content whose free space is not known.
  static func unknown(
    _ systems: [GuestFileSystem], _ start: [UInt8], _ volume: VolumeReader, _ type: PartitionType?
  ) throws(ImageError) -> MachineTrace {
    switch systems {
    case [.fat]: return isDirtyFAT(start) ? .mayRun : .nothing
    case []:
      if let type, type.isForNoSystem { return .nothing }
      return try isEmpty(volume) ? .nothing : .mayRun
    default: return .mayRun
    }
  }

  /// Linux sets the bit while it has the volume mounted for writing, in the boot sector's reserved byte (fatgen103: BS_Reserved1).
  private static func isDirtyFAT(_ start: [UInt8]) -> Bool {
    let is32 = start.count >= 90 && start[82..<90].elementsEqual("FAT32   ".utf8)
    let place = is32 ? 0x41 : 0x25
    return start.count > place && start[place] & 1 != 0
  }

  /// Whether its first and its last MiB hold only zeros: no format leaves both.
  private static func isEmpty(_ volume: VolumeReader) throws(ImageError) -> Bool {
    let count = VolumeReader.longestRead
    for place in [0, volume.length - min(volume.length, UInt64(count))] {
      let isZero = try volume.firstBytes(at: place, count: count).allSatisfy { $0 == 0 }
      if !isZero { return false }
    }
    return true
  }
}
