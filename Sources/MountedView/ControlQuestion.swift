import ImageManagement
import Storage

/// What a query may ask of a control file.
struct ControlQuestion {
  /// What is asked of `changes`; of the others the form and the region alone.
  var request = ChangesRequest()
  /// Of `tracking`: the points alone.
  var showsPointsOnly = false

  var format: ReportFormat { request.format }

  /// Errors: `.invalidParameter` for a key or a value that the file does not know.
  init(_ query: ControlQuery) throws(ImageError) {
    let name = query.file.name
    guard let pairs = query.pairs else {
      throw ImageError(
        .invalidParameter,
        "\(name)?\(escaped(query.question ?? "")): write the question as key=value, "
          + "joined by &, each key once"
      )
    }
    for (key, value) in pairs {
      switch (key, query.file) {
      case ("format", .info), ("format", .chain), ("format", .map), ("format", .tracking),
        ("format", .changes), ("format", .job), ("format", .operation):
        guard let known = ReportFormat(rawValue: value) else {
          throw ControlQuestion.bad(name, key, value, "text or json")
        }
        request.format = known
      case ("offset", .map), ("offset", .changes):
        request.offset = try ControlQuestion.number(name, key, value, "bytes")
      case ("length", .map), ("length", .changes):
        request.length = try ControlQuestion.number(name, key, value, "bytes")
      case ("max", .changes): request.maximum = try ControlQuestion.number(name, key, value, "ranges")
      case ("show", .tracking):
        guard value == "points" else { throw ControlQuestion.bad(name, key, value, "points") }
        showsPointsOnly = true
      case ("limit", .changes): request.limit = value
      case ("target", .changes): request.target = value
      default:
        throw ImageError(
          .invalidParameter, "\(name)?\(escaped(key))=\(escaped(value)): \(name) knows no such key")
      }
    }
  }

  /// The range that is asked for, of a disk of `size` bytes. Errors: `.invalidParameter` where it is not
  /// inside.
  func range(ofDisk size: UInt64, _ name: String) throws(ImageError) -> Range<UInt64> {
    let (offset, length) = (request.offset, request.length)
    guard offset <= size, (length ?? 0) <= size - offset else {
      throw ImageError(
        .invalidParameter,
        "\(escaped(name)): offset \(offset) and length \(length ?? 0) do not lie inside "
          + "the disk, which has \(size) bytes"
      )
    }
    return offset..<(length.map { offset + $0 } ?? size)
  }

  private static func number(
    _ name: String, _ key: String, _ value: String, _ unit: String
  ) throws(ImageError) -> UInt64 {
    guard value.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt64(value) else {
      throw bad(name, key, value, "a number of \(unit)")
    }
    return number
  }

  private static func bad(_ name: String, _ key: String, _ value: String, _ wanted: String) -> ImageError {
    ImageError(.invalidParameter, "\(name)?\(escaped(key))=\(escaped(value)): \(wanted) is needed there")
  }
}
