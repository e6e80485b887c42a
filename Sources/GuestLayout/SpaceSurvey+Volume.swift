import Storage

extension SpaceSurvey {
  /// Looks at one volume. Only an error of `read` ends it.
  ///
  /// - Parameter type: of its partition; nil where there is no partition table.
  static func survey(
    number: Int?, _ range: Range<UInt64>, type: PartitionType? = nil, _ read: @escaping DiskReader
  ) throws(ImageError) -> GuestVolume {
    let content = try content(number: number, range, type, read)
    // What sleeps in it concerns the whole disk, whatever the type says.
    if case .unknown(let obstacle) = content.freeSpace, obstacle.kind == .hibernated { return content }
    if let type, let whole = type.partOfSomething {
      return GuestVolume(
        number: number, range: range, fileSystem: whole,
        freeSpace: .unknown(.unsupported("its partition's type says that it is a part of something larger")),
        trace: .mayRun)
    }
    guard let type, case .known = content.freeSpace, !type.fits(content.fileSystem) else { return content }
    return GuestVolume(
      number: number, range: range, fileSystem: content.fileSystem,
      freeSpace: .unknown(
        SpaceObstacle(
          .contradictory, "its partition's type (\(type)) is none in which \(content.fileSystem) is believed")
      ),
      trace: .mayRun)
  }

  /// What its marks and structures say.
  private static func content(
    number: Int?, _ range: Range<UInt64>, _ type: PartitionType?, _ read: @escaping DiskReader
  ) throws(ImageError) -> GuestVolume {
    let volume = VolumeReader(range: range, read: read)
    func used(
      _ system: GuestFileSystem, _ obstacle: SpaceObstacle, _ trace: MachineTrace = .mayRun
    ) -> GuestVolume {
      GuestVolume(
        number: number, range: range, fileSystem: system, freeSpace: .unknown(obstacle), trace: trace)
    }
    // No image's disk is; below it no sum of offsets and sizes overflows.
    guard range.upperBound <= 1 << 62 else {
      return used(.unknown, .unsupported("it is larger than any disk"))
    }
    let (systems, start) = try Signatures.recognized(volume)
    let trace = try MachineTrace.unknown(systems, start, volume, type)
    guard let system = systems.first else {
      return used(.unknown, SpaceObstacle(.unknown, "unknown file system"), trace)
    }
    if let encrypted = systems.first(where: \.isEncrypted) {
      return used(encrypted, SpaceObstacle(.encrypted, "encrypted"))
    }
    guard systems.count == 1 else {
      let names = systems.map(\.rawValue).joined(separator: " and ")
      return used(.unknown, SpaceObstacle(.contradictory, "it has the marks of \(names)"))
    }
    do throws(SurveyStop) {
      let space = try space(of: system, volume, start)
      return GuestVolume(
        number: number, range: range, fileSystem: system, freeSpace: .known(bytes: space.freeBytes),
        notes: space.notes, trace: space.trace, map: space.map)
    } catch {
      switch error {
      case .unreadable(let error): throw error
      case .obstacle(let obstacle): return used(system, obstacle, trace)
      }
    }
  }

  /// The free space of a volume that was closed in order.
  private struct Space {
    var map: SpaceMap
    /// Bytes.
    var freeBytes: UInt64
    var notes: [String] = []
    var trace: MachineTrace
  }

  private static func space(
    of system: GuestFileSystem, _ volume: VolumeReader, _ start: [UInt8]
  ) throws(SurveyStop) -> Space {
    switch system {
    case .ext2, .ext3, .ext4:
      let survey = try ExtSurvey(ExtSuperblock(Array(start[1024..<2048])), volume)
      return Space(
        map: .ext(survey.geometry), freeBytes: survey.freeBytes, notes: survey.notes, trace: .down)
    case .swap:
      guard let (mark, pageSize) = SwapSpace.mark(in: start) else { throw .damaged("its mark is gone") }
      let ranges = try SwapSpace.freeRanges(volume, mark, pageSize: pageSize)
      return Space(
        map: .ranges(ranges), freeBytes: ranges.reduce(0) { $0 + ($1.upperBound - $1.lowerBound) },
        trace: .nothing)
    case .ntfs:
      let survey = try NTFSSurvey(volume, bootSector: Array(start.prefix(512)))
      return Space(
        map: .ntfs(survey.space), freeBytes: survey.freeBytes, notes: survey.notes,
        trace: survey.showsMounts ? .down : .nothing)
    default: throw .unsupported("its free space is not read")
    }
  }
}
