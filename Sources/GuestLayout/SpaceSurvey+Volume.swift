import Storage

extension SpaceSurvey {
  /// Looks at one volume. Only an error of `read` ends it.
  static func survey(
    number: Int?, _ range: Range<UInt64>, type: GuestFileSystem? = nil, _ read: @escaping DiskReader
  ) throws(ImageError) -> GuestVolume {
    let volume = VolumeReader(range: range, read: read)
    let (systems, start) = try Signatures.recognized(volume)
    func used(_ system: GuestFileSystem, _ obstacle: SpaceObstacle) -> GuestVolume {
      GuestVolume(
        number: number, range: range, fileSystem: system, freeSpace: .unknown(obstacle), notes: [], map: nil)
    }
    // No image's disk is; below it no sum of offsets and sizes overflows.
    guard range.upperBound <= 1 << 62 else {
      return used(.unknown, .unsupported("it is larger than any disk"))
    }
    if let type {
      return used(type, .unsupported("its partition's type says that it is a part of something larger"))
    }
    guard let system = systems.first else {
      return used(.unknown, SpaceObstacle(.unknown, "unknown file system"))
    }
    if let encrypted = systems.first(where: \.isEncrypted) {
      return used(encrypted, SpaceObstacle(.encrypted, "encrypted"))
    }
    guard systems.count == 1 else {
      let names = systems.map(\.rawValue).joined(separator: " and ")
      return used(.unknown, SpaceObstacle(.contradictory, "it has the marks of \(names)"))
    }
    do throws(SurveyStop) {
      let (map, freeBytes, notes) = try space(of: system, volume, start)
      return GuestVolume(
        number: number, range: range, fileSystem: system, freeSpace: .known(bytes: freeBytes), notes: notes,
        map: map)
    } catch {
      switch error {
      case .unreadable(let error): throw error
      case .obstacle(let obstacle): return used(system, obstacle)
      }
    }
  }

  private static func space(
    of system: GuestFileSystem, _ volume: VolumeReader, _ start: [UInt8]
  ) throws(SurveyStop) -> (SpaceMap, freeBytes: UInt64, notes: [String]) {
    switch system {
    case .ext2, .ext3, .ext4:
      let survey = try ExtSurvey(ExtSuperblock(Array(start[1024..<2048])), volume)
      return (.ext(survey.geometry), survey.freeBytes, survey.notes)
    case .swap:
      guard let (mark, pageSize) = SwapSpace.mark(in: start) else { throw .damaged("its mark is gone") }
      let ranges = try SwapSpace.freeRanges(volume, mark, pageSize: pageSize)
      return (.ranges(ranges), ranges.reduce(0) { $0 + ($1.upperBound - $1.lowerBound) }, [])
    case .ntfs:
      let survey = try NTFSSurvey(volume, bootSector: Array(start.prefix(512)))
      return (.ntfs(survey.space), survey.freeBytes, [])
    default: throw .unsupported("its free space is not read")
    }
  }
}
