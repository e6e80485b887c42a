/// The two forms in which facts are printed. Both have the same keys in the same order.
public enum ReportFormat: String, CaseIterable, Sendable {
  /// `KEY VALUE` lines, one fact a line, as the control files of cgroup v2 have them.
  case text
  /// One JSON document, ended by a newline.
  case json
}

extension [ReportField] {
  /// A whole report of one object's facts, ended by a newline.
  func report(as format: ReportFormat) -> [UInt8] {
    var output = ReportBytes()
    switch format {
    case .text: output.appendLines(self)
    case .json:
      output.appendObject(self)
      output.append("\n")
    }
    return output.bytes
  }
}
