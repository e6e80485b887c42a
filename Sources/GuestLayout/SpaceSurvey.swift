import Storage

/// What is known of the free space of a disk, read from bytes that may be hostile.
///
/// Free is only what the bitmaps of a recognized file system call free, which was closed in order and whose structures
/// pass every check. All else is used: partition tables, gaps, unknown and encrypted volumes, what a file system does not
/// cover of its partition, and every volume of a disk on which a system sleeps.
///
/// Bounds, whatever the bytes say: a few MiB of memory; each bitmap of at most 8 GiB read once, at most 1 MiB at a time.
/// To end it sooner, `read` throws.
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
              notes: [], map: nil))
        } else {
          volumes.append(
            try survey(number: partition.number, range, type: GuestFileSystem(typeOf: partition), read))
        }
      }
    }
    return SpaceSurvey(
      diskSize: diskSize, scheme: table.scheme, volumes: usedWhereSystemSleeps(volumes),
      warnings: table.warnings)
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

  /// Partitions that overlap each other, or bytes of the table, by their numbers.
  private static func contested(
    _ partitions: [Partition], _ tablePlaces: [Range<UInt64>]
  ) -> [Int: SpaceObstacle] {
    var claims = partitions.map { (number: $0.number, range: $0.firstByte..<($0.firstByte + $0.length)) }
    claims += tablePlaces.map { (number: 0, range: $0) }
    claims.sort { $0.range.lowerBound < $1.range.lowerBound }
    var contested: [Int: SpaceObstacle] = [:]
    // Of all that began before, the one that reaches furthest: who overlaps another overlaps it too.
    var furthest: (number: Int, range: Range<UInt64>)?
    for claim in claims {
      if let other = furthest, other.range.upperBound > claim.range.lowerBound {
        contested[claim.number] = overlap(other.number)
        contested[other.number] = contested[other.number] ?? overlap(claim.number)
      }
      if furthest.map({ $0.range.upperBound < claim.range.upperBound }) ?? true { furthest = claim }
    }
    return contested
  }

  private static func overlap(_ other: Int) -> SpaceObstacle {
    SpaceObstacle(
      .contradictory, other == 0 ? "it overlaps the partition table" : "it overlaps partition \(other)")
  }

  /// A system that sleeps remembers more of the disk than its own volume: other file systems that it has mounted, and
  /// what it swapped out. So nothing of the disk is free.
  private static func usedWhereSystemSleeps(_ volumes: [GuestVolume]) -> [GuestVolume] {
    let sleeper = volumes.first {
      if case .unknown(let obstacle) = $0.freeSpace { obstacle.kind == .hibernated } else { false }
    }
    guard let sleeper else { return volumes }
    let place = sleeper.number.map { "partition \($0)" } ?? "this disk"
    return volumes.map { volume in
      guard case .known = volume.freeSpace else { return volume }
      return volume.used(SpaceObstacle(.hibernated, "the system that sleeps in \(place) may have it in use"))
    }
  }
}
