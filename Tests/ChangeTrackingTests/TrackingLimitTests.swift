import Storage
import TestSupport
import Testing

@testable import ChangeTracking

@Suite("Limits of a tracking file")
struct TrackingLimitTests {
  @Test("4096 points, and no more until one is dropped")
  func points() throws {
    var image = try TrackedImage(diskSize: 64 << 20)
    for number in 0..<TrackingFormat.mostPoints { try image.point("p\(number)") }
    let error = #expect(throws: ImageError.self) { try image.point("more") }
    #expect(error?.errno == .noSpace && error?.sentence.contains("drop some") == true)
    try image.drop(7)
    try image.point("more")
    try image.reopen()
    #expect(image.tracker.points.count == Int(TrackingFormat.mostPoints))
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
