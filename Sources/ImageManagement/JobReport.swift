/// A job's facts: the contents of `control/job`, of `.jobs/N` and of an operation file, and what `vhdfs job` prints.
///
/// The keys stand in docs/control-files.md; those of the operation's result follow behind them.
public struct JobReport: Sendable {
  let fields: [ReportField]

  public init(_ job: Job) { fields = job.fields }

  /// The whole report, ended by a newline.
  public func bytes(as format: ReportFormat) -> [UInt8] { OperationReport(fields).bytes(as: format) }
}
