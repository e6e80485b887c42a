import GuestLayout
import Storage
import VirtualDisk

/// What the file systems of a disk do not use, and what is to be said of each.
struct UnusedSpace {
  let ranges: FreeRanges
  /// For each partition: its number (0: the disk has no table), file system, whether its free space is known, free bytes, and
  /// what else there is to say.
  let report: [[ReportField]]

  /// Nobody was asked: all is used.
  init() {
    ranges = .none
    report = []
  }

  /// Asks the file systems of `disk`, which must not change while the answer is used. Waits.
  init(of disk: VirtualDisk, _ monitor: CompactionMonitor) throws(ImageError) {
    func read(_ offset: UInt64, _ count: Int) throws(ImageError) -> [UInt8] {
      try monitor.check()
      var bytes = [UInt8](repeating: 0, count: count)
      let result: Result<Bool, ImageError> = bytes.withUnsafeMutableBytes { buffer in
        Result { () throws(ImageError) in try disk.read(into: buffer, at: offset, mayWait: true) }
      }
      _ = try result.get()
      return bytes
    }
    let survey = try SpaceSurvey.read(
      diskSize: disk.size, sectorSize: disk.logicalSectorSize, read: read)
    var cursor = FreeRangeCursor(survey, read: read)
    ranges = FreeRanges { (offset) throws(ImageError) in try cursor.next(from: offset) }
    report = survey.volumes.map(UnusedSpace.fields)
  }

  private static func fields(_ volume: GuestVolume) -> [ReportField] {
    let (isKnown, free, obstacle): (Bool, UInt64, String?) =
      switch volume.freeSpace {
      case .known(let bytes): (true, bytes, nil)
      case .unknown(let obstacle): (false, 0, obstacle.description)
      }
    return [
      ReportField("number", .number(UInt64(volume.number ?? 0))),
      ReportField("file_system", .text(volume.fileSystem.description)),
      ReportField("free_space_known", .flag(isKnown)),
      ReportField("free_bytes", .number(free)),
      ReportField("note", .text((volume.notes + [obstacle].compactMap(\.self)).joined(separator: "; "))),
    ]
  }
}
