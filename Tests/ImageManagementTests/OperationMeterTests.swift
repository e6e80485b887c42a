import Storage
import Testing

@testable import ImageManagement

@Suite struct OperationMeterTests {
  @Test func anEvenPace() {
    var meter = OperationMeter()
    #expect(meter.rate == nil && meter.secondsLeft == nil)
    for tenth in 0...50 { meter.look(done: UInt64(tenth) * 10, total: 1000, at: 100 + Double(tenth) / 10) }
    #expect(abs((meter.rate ?? 0) - 100) < 1)
    #expect(abs((meter.secondsLeft ?? 0) - 5) < 0.3)
  }

  @Test func aPaceThatChanges() {
    var meter = OperationMeter()
    for second in 0...20 { meter.look(done: UInt64(second) * 100, total: 10_000, at: Double(second)) }
    for second in 1...12 { meter.look(done: 2000 + UInt64(second), total: 10_000, at: 20 + Double(second)) }
    // What was before the window does not count any more.
    #expect(abs((meter.rate ?? 0) - 1) < 0.2)
  }

  @Test func nothingIsSaidTooEarly() {
    var meter = OperationMeter()
    meter.look(done: 0, total: 100, at: 0)
    meter.look(done: 50, total: 100, at: 0.3)
    #expect(meter.rate == nil)
    meter.look(done: 50, total: 0, at: 1)
    #expect(meter.rate != nil && meter.secondsLeft == nil)
  }

  @Test func events() {
    let started = OperationEvent.started(operation: "compact", image: "a \"b\".vhdx")
    #expect(
      text(started.line) == #"{"event": "started", "operation": "compact", "image": "a \"b\".vhdx"}"# + "\n")
    let progress = OperationEvent.progress(percent: 42, done: 420, total: 1000, seconds: 1.6)
    #expect(
      text(progress.line)
        == #"{"event": "progress", "percent_complete": 42, "bytes_done": 420, "bytes_total": 1000, "#
        + #""elapsed_time": 1.600}"# + "\n")
    let failed = OperationEvent.failed(ImageError(errno: .noSpace, "a: the host is full"))
    #expect(
      text(failed.line)
        == #"{"event": "failed", "return_value": 32768, "errno": 28, "hresult": "0x80070070", "#
        + #""error_description": "a: the host is full"}"# + "\n")
    let finished = OperationEvent.finished([ReportField("blocks_freed", .number(7))])
    #expect(text(finished.line) == #"{"event": "finished", "blocks_freed": 7}"# + "\n")
  }

  @Test(arguments: [
    (ImageError(.invalidState, "x"), "0xC03A001C"), (ImageError(.inUse, "x"), "0x80070020"),
    (ImageError(.chainHasCycle, "x"), "0xC03A0018"), (ImageError(.wrongDataType, "x"), "0x80070570"),
    (ImageError(.timeout, "x"), "0x800705B4"), (ImageError(.failed, "x"), "0x8007045D"),
    (ImageError(.objectNotFound, "x"), "0x80070490"), (ImageError(.unknown, "x"), "0x80004005"),
    (ImageError(errno: .canceled, "x"), "0x800704C7"),
    (ImageError(errno: .readOnlyFileSystem, "x"), "0x80070013"),
  ]) func codes(_ error: ImageError, _ code: String) {
    #expect(HRESULT(error).text == code)
  }
}
