import ChangeTracking
import Storage
import VirtualDisk

/// The state of an image's change tracking: the contents of `control/tracking`, and what the command `tracking` prints.
///
/// The keys stand in docs/control-files.md. In text, a line `point NAME ID CREATED` for each point follows their number,
/// oldest first; in JSON `points` is the array of them.
public struct TrackingReport: Sendable {
  /// Bytes that one bit of the record stands for.
  public static let granularity: UInt64 = 4096

  let facts: TrackingFacts

  public init(_ facts: TrackingFacts) { self.facts = facts }

  /// The whole report, ended by a newline.
  public func bytes(as format: ReportFormat) -> [UInt8] {
    var output = ReportBytes()
    switch format {
    case .text:
      output.appendLines(fields + [ReportField("points", .number(UInt64(facts.points.count)))])
      output.appendPoints(facts.points)
    case .json:
      output.appendObjectBegin(fields)
      output.append(",\n  \"points\": ")
      output.appendPointArray(facts.points)
      output.append("\n}\n")
    }
    return output.bytes
  }

  var fields: [ReportField] {
    var fields = [ReportField("state", .text(facts.state.rawValue))]
    if let refusal = facts.refusal { fields.append(ReportField("reason", .sentence(refusal.description))) }
    fields.append(ReportField("file", .text(facts.path)))
    if let size = facts.fileSize { fields.append(ReportField("file_size", .number(size))) }
    fields.append(ReportField("granularity", .number(TrackingReport.granularity)))
    return fields
  }
}

extension DiskLibrary {
  /// The word of the key `tracking` in `info`; nil where it cannot be told, as of an image that another program holds.
  ///
  /// Where there is no tracking file, the image is not opened for it. Waits.
  public func trackingState(of entry: ImageEntry) -> TrackingFacts.State? {
    guard case .success = entry.facts else { return nil }
    guard TrackingFileStamp(beside: entry.path) != nil else { return .off }
    return try? tracking(of: entry.name).state
  }
}
