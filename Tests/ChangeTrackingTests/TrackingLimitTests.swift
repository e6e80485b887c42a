import Storage
import TestSupport
import Testing

@testable import ChangeTracking

@Suite("Limits of a tracking file")
struct TrackingLimitTests {
  @Test("4096 points, and no more until one is dropped")
  func points() throws {
    var image = try TrackedImage(diskSize: 64 << 20)
    // All but two are put into the file: each list is written anew for each point.
    var header = image.tracker.state.withLock { $0.header }
    let count = Int(TrackingFormat.mostPoints) - 2
    let records = UnsafeMutableRawBufferPointer.allocate(
      byteCount: count * TrackingFormat.recordSize, alignment: 8)
    defer { records.deallocate() }
    for number in 0..<count {
      let start = number * TrackingFormat.recordSize
      ReferencePoint(
        name: "p\(number)", id: ReferencePoint.newID(), created: 1, diskSize: header.diskSize,
        firstInterval: UInt32(number + 1)
      ).encode(into: .init(rebasing: records[start..<(start + TrackingFormat.recordSize)]))
    }
    header.sequence += 1
    header.pointCount = UInt32(count)
    header.interval = UInt32(count)
    header.catalogueChecksum = Checksum.of(UnsafeRawBufferPointer(records))
    try image.file.write(
      UnsafeRawBufferPointer(records), at: TrackingFormat.catalogueOffsets[Int(header.catalogue)])
    var bytes = [UInt8](repeating: 0, count: TrackingFormat.pageSize)
    bytes.withUnsafeMutableBytes { header.encode(into: $0) }
    for offset in TrackingFormat.headerOffsets {
      try bytes.withUnsafeBytes { try image.file.write($0, at: offset) }
    }
    try image.reopen()
    try image.point("last-but-one")
    try image.point("last")
    let error = #expect(throws: ImageError.self) { try image.point("more") }
    #expect(error?.errno == .noSpace && error?.sentence.contains("drop some") == true)
    try image.tracker.drop("p7")
    try image.point("more")
    try image.reopen()
    #expect(image.tracker.points.count == Int(TrackingFormat.mostPoints))
    #expect(image.tracker.points.last?.name == "more")
  }

  @Test("numbers that no file of ours has are damage, and cost no memory")
  func headerNumbers() throws {
    let image = try TrackedImage(diskSize: 64 << 20)
    let changes: [(inout TrackingHeader) -> Void] = [
      { $0.chunks = TrackingFormat.mostChunks + 1 }, { $0.diskSize = TrackingFormat.largestDisk + 1 },
      { $0.diskSize = .max }, { $0.regionShift = 11 }, { $0.regionShift = 41 }, { $0.diskSize = 1 << 49 },
      { $0.interval = 1 << 24 }, { $0.catalogue = 2 },
    ]
    for (number, change) in changes.enumerated() {
      var header = image.tracker.state.withLock { $0.header }
      change(&header)
      var bytes = [UInt8](repeating: 0, count: TrackingFormat.pageSize)
      bytes.withUnsafeMutableBytes { header.encode(into: $0) }
      #expect(bytes.withUnsafeBytes { TrackingHeader($0) } == nil, "change \(number)")
    }
    // A file as long as it may be, and a directory in which every entry is free.
    var header = image.tracker.state.withLock { $0.header }
    header.chunks = TrackingFormat.mostChunks
    header.sequence += 9
    var bytes = [UInt8](repeating: 0, count: TrackingFormat.pageSize)
    bytes.withUnsafeMutableBytes { header.encode(into: $0) }
    try bytes.withUnsafeBytes { try image.file.write($0, at: 0) }
    try image.file.resize(to: TrackingFormat.fileSize(chunks: header.chunks))
    let tracker = try TrackedImage.open(image.file, image.image, image.boot)
    #expect(tracker.state.withLock { $0.directory.freeCount } == 512 * Int(TrackingFormat.mostChunks))
  }
}
