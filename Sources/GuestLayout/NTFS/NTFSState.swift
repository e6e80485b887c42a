/// Whether an NTFS volume was closed: the flags of $Volume, and the restart pages of $LogFile.
extension NTFSFileTable {
  /// Flags that say nothing of the bitmap: mounted by NT 4, no short names.
  private static let harmlessFlags: UInt16 = 0x0008 | 0x0080

  /// $VOLUME_INFORMATION of record 3: the version, and flags.
  func checkVolume() throws(SurveyStop) {
    guard let information = try record(3).all(.volumeInformation).first, information.isResident,
      information.value.count >= 12
    else { throw .damaged("$Volume has no information") }
    let value = Array(information.value)
    let (major, minor) = (value[8], value[9])
    guard major == 1 && (1...2).contains(minor) || major == 3 && minor <= 1 else {
      throw .unsupported("NTFS of the unknown version \(major).\(minor)")
    }
    let flags = value.little(UInt16.self, at: 10)
    if flags & 1 != 0 { throw .dirty("the NTFS volume is marked dirty") }
    let rest = flags & ~NTFSFileTable.harmlessFlags
    if rest != 0 { throw .dirty("the NTFS volume waits for work (flags 0x\(String(rest, radix: 16)))") }
  }

  enum LogState {
    /// Closed by its newest restart page.
    case closed
    /// All ones: never used since the volume was made or ntfs-3g wrote to it, which shows nowhere that a volume is mounted.
    case unused
  }

  /// $LogFile, record 2. A log that is to be replayed is an obstacle.
  func checkLog() throws(SurveyStop) -> LogState {
    guard let log = try stream(.data, of: record(2)), log.size >= 8192 else {
      throw .damaged("$LogFile is missing")
    }
    let start = try bytes(of: log, at: 0, count: Int(min(log.size, 65536)), "$LogFile")
    if start == [UInt8](repeating: 0xFF, count: start.count) { return .unused }
    guard start.starts(with: "RSTR".utf8) else { throw .dirty("its log is in no known state") }
    let pageSize = start.little(UInt32.self, at: 0x10)
    guard (512...65536).contains(pageSize), pageSize.nonzeroBitCount == 1, UInt64(pageSize) * 2 <= log.size
    else {
      throw .damaged("its log has an impossible page size")
    }
    let first = try restartPage(of: log, at: 0, size: Int(pageSize))
    let second = try restartPage(of: log, at: UInt64(pageSize), size: Int(pageSize))
    // They are written in turn. Of two that are equally new both must agree.
    let newest = [first, second].filter { $0.sequence == max(first.sequence, second.sequence) }
    guard newest.allSatisfy(\.isClosed) else { throw .dirty("its log is to be replayed") }
    return .closed
  }

  private struct RestartPage {
    /// The last log sequence number.
    var sequence: UInt64
    /// Nobody holds the log, or it is marked clean.
    var isClosed: Bool
  }

  private func restartPage(of log: NTFSStream, at offset: UInt64, size: Int) throws(SurveyStop) -> RestartPage
  {
    var page = try bytes(of: log, at: offset, count: size, "a restart page")
    guard NTFSFixups.apply(to: &page, mark: "RSTR") else {
      throw .damaged("a restart page of its log is torn")
    }
    let (minor, major) = (page.little(UInt16.self, at: 0x1A), page.little(UInt16.self, at: 0x1C))
    // Windows keeps version 2 while it runs, over a fast start too, and puts 1.1 back when it lets go of the volume.
    guard major == 1, minor <= 1 else {
      throw .dirty("its log is of version \(major).\(minor), so Windows still holds it")
    }
    let area = Int(page.little(UInt16.self, at: 0x18))
    guard area >= 0x1E, area % 8 == 0, area + 0x30 <= size else {
      throw .damaged("a restart page makes no sense")
    }
    let client = page.little(UInt16.self, at: area + 0x0C)
    let flags = page.little(UInt16.self, at: area + 0x0E)
    return RestartPage(sequence: page.little(at: area), isClosed: client == 0xFFFF || flags & 2 != 0)
  }

  func bytes(
    of stream: NTFSStream, at offset: UInt64, count: Int, _ what: @autoclosure () -> String
  ) throws(SurveyStop) -> [UInt8] {
    try stream.bytes(at: offset, count: count, clusterSize: boot.clusterSize, volume, what())
  }
}
