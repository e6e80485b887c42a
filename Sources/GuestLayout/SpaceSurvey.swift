import Storage

/// What is known of the free space of a disk, read from bytes that may be hostile.
///
/// Free is only what the bitmaps of a recognized file system call free, which was closed in order, whose structures pass
/// every check, and which its partition's type fits. All else is used: partition tables, gaps, unknown and encrypted
/// volumes, what a file system does not cover of its partition, every volume of a disk on which a system sleeps, or that
/// belongs to something as a whole, and swap areas beside a volume that does not show that the machine is down.
///
/// Bounds, whatever the bytes say: some 10 MiB of memory; each bitmap of at most 8 GiB, and each NTFS file table that is looked
/// through of at most 64 GiB, read once, at most 1 MiB at a time. To end it sooner, `read` throws.
public struct SpaceSurvey: Sendable {
  /// Bytes.
  public let diskSize: UInt64
  public let scheme: PartitionTable.Scheme
  /// In the order of the table; one without a number where there is no table; none where a table cannot be understood.
  /// A container of logical partitions is none.
  public let volumes: [GuestVolume]
  /// Of the partition table, as in `PartitionTable`.
  public let warnings: [String]

  /// Bytes that are known to be free.
  public var freeBytes: UInt64 {
    volumes.reduce(0) { sum, volume in
      if case .known(let bytes) = volume.freeSpace { sum + bytes } else { sum }
    }
  }

  /// Looks at a disk.
  ///
  /// - Parameters:
  ///   - diskSize: bytes.
  ///   - sectorSize: the disk's logical sector size, in which partition tables count: 512 or 4096.
  ///   - read: reads the disk; only ranges inside it are asked for. Its errors pass through, and are the only ones.
  public static func read(
    diskSize: UInt64, sectorSize: UInt32, read: @escaping DiskReader
  ) throws(ImageError) -> SpaceSurvey {
    let (table, tablePlaces) = try partitionTable(diskSize, sectorSize, read)
    var volumes: [GuestVolume] = []
    if table.scheme == .none {
      if diskSize > 0 { volumes.append(try survey(number: nil, 0..<diskSize, read)) }
    } else {
      let partitions = table.partitions.filter { !$0.isContainer }
      let contested = contested(partitions, tablePlaces)
      for partition in partitions {
        let range = partition.firstByte..<(partition.firstByte + partition.length)
        if let obstacle = contested[partition.number] {
          volumes.append(
            GuestVolume(
              number: partition.number, range: range, fileSystem: .unknown, freeSpace: .unknown(obstacle),
              trace: .mayRun))
        } else {
          volumes.append(try survey(number: partition.number, range, type: partition.type, read))
        }
      }
      let disk = VolumeReader(range: 0..<diskSize, read: read)
      if let system = try Signatures.recognized(onWholeDisk: disk) {
        volumes = usedWhereWholeDisk(isMarkedAs: system, volumes)
      }
    }
    volumes = swapUsedWhereMachineMayRun(usedWhereSystemSleeps(volumes), warnings: table.warnings)
    return SpaceSurvey(
      diskSize: diskSize, scheme: table.scheme, volumes: volumes, warnings: table.warnings)
  }

  /// The table, and where it was read, with where its copy is.
  private static func partitionTable(
    _ diskSize: UInt64, _ sectorSize: UInt32, _ read: DiskReader
  ) throws(ImageError) -> (PartitionTable, [Range<UInt64>]) {
    var places: [Range<UInt64>] = []
    let table = try PartitionTable.read(diskSize: diskSize, sectorSize: sectorSize) {
      (offset, count) throws(ImageError) in
      places.append(offset..<(offset + UInt64(count)))
      return try read(offset, count)
    }
    if table.scheme == .gpt {
      let length = min(diskSize, UInt64(sectorSize) + 16384)
      places.append((diskSize - length)..<diskSize)
    }
    return (table, places)
  }
}
