import Storage

/// What `--json` tells of a running operation: one JSON object a line, in documented keys (docs/control-files.md).
public enum OperationEvent {
  /// It was checked, and runs from now on.
  case started(operation: String, image: String)
  case progress(percent: Int, done: UInt64, total: UInt64, seconds: Double)
  /// The last one: what came of it.
  case finished([ReportField])
  /// The last one: why not.
  case failed(ImageError)

  /// One line.
  public var line: [UInt8] {
    var output = ReportBytes()
    output.appendInline(fields)
    output.append("\n")
    return output.bytes
  }

  private var fields: [ReportField] {
    switch self {
    case .started(let operation, let image):
      [
        ReportField("event", .text("started")), ReportField("operation", .text(operation)),
        ReportField("image", .text(image)),
      ]
    case .progress(let percent, let done, let total, let seconds):
      [
        ReportField("event", .text("progress")),
        ReportField("percent_complete", .number(UInt64(max(percent, 0)))),
        ReportField("bytes_done", .number(done)), ReportField("bytes_total", .number(total)),
        ReportField("elapsed_time", .seconds(milliseconds: UInt64(max(seconds, 0) * 1000))),
      ]
    case .finished(let result):
      [ReportField("event", .text("finished"))] + result
    case .failed(let error):
      [
        ReportField("event", .text("failed")),
        ReportField("return_value", .number(UInt64(error.returnValue.rawValue))),
        ReportField("errno", .number(UInt64(max(error.errno.rawValue, 0)))),
        ReportField("hresult", .text(HRESULT(error).text)),
        ReportField("error_description", .sentence(error.description)),
      ]
    }
  }
}
