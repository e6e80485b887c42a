/// What came of an operation: what its command prints.
public struct OperationReport: Sendable {
  let fields: [ReportField]

  public init(_ fields: [ReportField]) { self.fields = fields }

  /// The whole report, ended by a newline.
  public func bytes(as format: ReportFormat) -> [UInt8] { fields.report(as: format) }
}
