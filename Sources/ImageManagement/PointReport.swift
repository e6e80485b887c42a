import ChangeTracking
import Storage
import VirtualDisk

/// A reference point: the files `id`, `created` and `info` of `points/NAME`, and what `vhdfs point` prints.
public struct PointReport: Sendable {
  let point: ReferencePoint

  public init(_ point: ReferencePoint) { self.point = point }

  /// The id in one line.
  public var id: [UInt8] { Array("\(escaped(point.id))\n".utf8) }

  /// When the point was made, in one line: ISO 8601, UTC.
  public var created: [UInt8] { Array("\(timeText(point.created))\n".utf8) }

  /// All facts, ended by a newline.
  public func bytes(as format: ReportFormat) -> [UInt8] { fields.report(as: format) }

  var fields: [ReportField] {
    [
      ReportField("name", .text(point.name)),
      ReportField("id", .text(point.id)),
      ReportField("created", .text(timeText(point.created))),
      ReportField("virtual_size", .number(point.diskSize)),
    ]
  }
}

/// The points of an image, oldest first: what `vhdfs point list` prints, and `tracking?show=points`.
public struct PointListReport: Sendable {
  let points: [ReferencePoint]

  /// Errors: why the record does not count; there are no points then, but to say so would not be the whole truth.
  public init(_ facts: TrackingFacts) throws(ImageError) {
    if let refusal = facts.refusal { throw refusal }
    points = facts.points
  }

  /// The whole report, ended by a newline; in text nothing where there is no point.
  public func bytes(as format: ReportFormat) -> [UInt8] {
    var output = ReportBytes()
    switch format {
    case .text: output.appendPoints(points)
    case .json:
      output.append("{\n  \"points\": ")
      output.appendPointArray(points)
      output.append("\n}\n")
    }
    return output.bytes
  }
}

extension ReportBytes {
  /// A line `point NAME ID CREATED` for each.
  mutating func appendPoints(_ points: [ReferencePoint]) {
    for point in points {
      append("point ")
      appendEscaped(point.name)
      append(" ")
      appendEscaped(point.id)
      append(" ")
      appendEscaped(timeText(point.created))
      append("\n")
    }
  }

  /// A JSON array, as the value of a member.
  mutating func appendPointArray(_ points: [ReferencePoint]) {
    append("[")
    for (index, point) in points.enumerated() {
      append(index == 0 ? "\n    " : ",\n    ")
      appendObject(PointReport(point).fields, margin: "    ")
    }
    append(points.isEmpty ? "]" : "\n  ]")
  }
}
