/// The two forms in which facts are printed. Both have the same keys in the same order.
public enum ReportFormat: String, CaseIterable, Sendable {
  /// `KEY VALUE` lines, one fact a line, as the control files of cgroup v2 have them.
  case text
  /// One JSON document, ended by a newline.
  case json
}
