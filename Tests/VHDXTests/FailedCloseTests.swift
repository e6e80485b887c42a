import Storage
import SystemPackage
import TestSupport
import Testing

@testable import VHDX

@Suite("A clean close of a VHDX that fails")
struct FailedCloseTests {
  /// Half a header is a valid one: behind its fields there are zeros. So the file may say that there is no log though the
  /// write of that header failed; what is flushed afterwards must be found all the same.
  @Test("What is flushed after it is in a log that the header names")
  func logIsNamedAgain() throws {
    let (image, file) = try SessionTests.image(try SessionTests.dynamic())
    try image.beginWriting()
    try SessionTests.write(image, pattern(seed: 1, count: 4096), at: 0)
    try image.commit()
    file.follow(RecordedFile.FaultPlan([.write], first: 0, .failsHalfWay(.ioError)))
    #expect(throws: ImageError.self) { try image.finishWriting() }
    #expect(file.failedCount == 1)
    file.clearFaults()
    let bytes = pattern(seed: 2, count: 4096)
    try SessionTests.write(image, bytes, at: 1 << 20)
    try image.commit()
    #expect(file.pendingCount > 0, "nothing is on its way to its place")
    var generator = SeededGenerator(seed: 1)
    for _ in 0..<20 {
      let (left, _) = try SessionTests.image(file.crashState(&generator))
      #expect(try RoomTests.read(left, at: 1 << 20, count: 4096) == bytes)
    }
  }
}
