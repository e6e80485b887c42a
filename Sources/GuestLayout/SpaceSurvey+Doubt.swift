import Storage

/// What one place of a disk says against what others say: then that, too, counts as used.
extension SpaceSurvey {
  /// Partitions that overlap each other, or bytes of the table, by their numbers.
  static func contested(
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

  /// Where the disk as a whole belongs to something, its partition table is a leftover, and so may be what lies in them.
  static func usedWhereWholeDisk(isMarkedAs system: GuestFileSystem, _ volumes: [GuestVolume])
    -> [GuestVolume]
  {
    volumes.map {
      $0.used(
        SpaceObstacle(
          .contradictory,
          "the disk as a whole has the mark of \(system), so its partition table may be a leftover"))
    }
  }

  /// A system that sleeps remembers more of the disk than its own volume: other file systems that it has mounted, and
  /// what it swapped out. So nothing of the disk is free.
  static func usedWhereSystemSleeps(_ volumes: [GuestVolume]) -> [GuestVolume] {
    let sleeper = volumes.first {
      if case .unknown(let obstacle) = $0.freeSpace { obstacle.kind == .hibernated } else { false }
    }
    guard let sleeper else { return volumes }
    return volumes.map { volume in
      guard case .known = volume.freeSpace else { return volume }
      return volume.used(
        SpaceObstacle(.hibernated, "the system that sleeps in \(sleeper.place) may have it in use"))
    }
  }

  /// A machine that sleeps outside (saved by its host), or runs, leaves no mark in its swap area. So it is free only where
  /// nothing else on the disk speaks against it; where nothing speaks for it either, a note says so.
  static func swapUsedWhereMachineMayRun(_ volumes: [GuestVolume], warnings: [String]) -> [GuestVolume] {
    let suspect = volumes.first { $0.trace == .mayRun }
    let isDown = volumes.contains { $0.trace == .down }
    return volumes.map { volume in
      guard volume.fileSystem == .swap, case .known = volume.freeSpace else { return volume }
      if let suspect {
        let reason =
          if case .unknown(let obstacle) = suspect.freeSpace { ": \(obstacle)" } else { "" }
        return volume.used(
          SpaceObstacle(
            .inUse,
            "its machine may be asleep or running, for all that \(suspect.place) tells (\(suspect.fileSystem)\(reason))"
          ))
      }
      if let warning = warnings.first {
        return volume.used(
          SpaceObstacle(
            .inUse, "its machine may be asleep or running: the partition table is doubtful (\(warning))"))
      }
      return isDown ? volume : volume.noted("nothing on the disk tells whether its machine is only asleep")
    }
  }
}
