import Storage

/// What a tracking file says, checked, before it is asked whether it counts for the image as it is now.
struct TrackingContents {
  var header: TrackingHeader
  /// Which of the two headers it is.
  var headerSlot: Int
  var points: [ReferencePoint]
  var directory: BlockDirectory
  /// The newest whole region table, and which of the two it is; nil where one is broken, so that it is not known what
  /// the newest said.
  var marks: RegionMarks?
  var regionSlot: Int
  /// The greatest sequence of a whole region table.
  var regionSequence: UInt64

  /// Errors: `.notSupported` for a newer version; `.wrongDataType` for damage.
  init(_ file: HostFile) throws(ImageError) {
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: RegionMarks.slotSize, alignment: 4096)
    defer { page.deallocate() }
    func load(_ offset: UInt64, _ length: Int) throws(ImageError) -> UnsafeRawBufferPointer {
      let part = UnsafeMutableRawBufferPointer(rebasing: page[..<length])
      let count = try file.readUpTo(part, at: offset)
      UnsafeMutableRawBufferPointer(rebasing: part[count...]).initializeMemory(as: UInt8.self, repeating: 0)
      return UnsafeRawBufferPointer(part)
    }

    var best: (header: TrackingHeader, slot: Int)?
    for (slot, offset) in TrackingFormat.headerOffsets.enumerated() {
      let bytes = try load(offset, TrackingFormat.pageSize)
      if let version = TrackingHeader.isOtherVersion(bytes) {
        throw TrackingError.otherVersion(file.path, version)
      }
      if let header = TrackingHeader(bytes), header.sequence > best?.header.sequence ?? 0 {
        best = (header, slot)
      }
    }
    guard let best else {
      throw TrackingError.damaged(
        file.path, at: 0, "this is no tracking file, or both of its headers are damaged")
    }
    header = best.header
    headerSlot = best.slot

    points = try TrackingContents.catalogue(file, header)
    let oldest = points.first?.firstInterval ?? header.interval
    directory = try BlockDirectory(
      file, chunks: header.chunks, oldest: oldest, openInterval: header.interval)
    for (index, point) in points.enumerated().dropLast() {
      guard directory.count(in: point.firstInterval..<points[index + 1].firstInterval) == point.blocks else {
        throw TrackingError.damaged(
          file.path, "blocks of the changes after the point \(point.name) are missing")
      }
    }
    if header.state == .clean, directory.open.count != Int(header.openBlocks) {
      throw TrackingError.damaged(file.path, "blocks of the newest changes are missing")
    }

    var tables: [RegionMarks?] = []
    for offset in TrackingFormat.regionOffsets {
      tables.append(
        RegionMarks(try load(offset, RegionMarks.slotSize), header))
    }
    let first = tables[0]?.sequence ?? 0
    let second = tables[1]?.sequence ?? 0
    regionSlot = second > first ? 1 : 0
    regionSequence = max(first, second)
    marks = tables.contains { $0 == nil } ? nil : tables[regionSlot]
  }

  private static func catalogue(
    _ file: HostFile, _ header: TrackingHeader
  ) throws(ImageError) -> [ReferencePoint] {
    let length = Int(header.pointCount) * TrackingFormat.recordSize
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: max(length, 1), alignment: 8)
    defer { bytes.deallocate() }
    let part = UnsafeMutableRawBufferPointer(rebasing: bytes[..<length])
    let offset = TrackingFormat.catalogueOffsets[Int(header.catalogue)]
    guard try file.readUpTo(part, at: offset) == length,
      Checksum.of(UnsafeRawBufferPointer(part)) == header.catalogueChecksum
    else { throw TrackingError.damaged(file.path, at: offset, "the list of points is damaged") }
    var points: [ReferencePoint] = []
    for number in 0..<Int(header.pointCount) {
      let start = number * TrackingFormat.recordSize
      guard
        let point = ReferencePoint(
          UnsafeRawBufferPointer(rebasing: part[start..<(start + TrackingFormat.recordSize)])),
        point.firstInterval > points.last?.firstInterval ?? 0, point.firstInterval <= header.interval
      else { throw TrackingError.damaged(file.path, at: offset, "the list of points is damaged") }
      points.append(point)
    }
    return points
  }
}
