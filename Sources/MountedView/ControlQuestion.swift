import ImageManagement
import Storage

/// What a query may ask of a control file.
struct ControlQuestion {
  var format = ReportFormat.text
  /// Of a map: bytes of the disk; nil: to the end.
  var offset: UInt64 = 0
  var length: UInt64?

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
      case ("format", .info), ("format", .chain), ("format", .map):
        guard let known = ReportFormat(rawValue: value) else {
          throw ControlQuestion.bad(name, key, value, "text or json")
        }
        format = known
      case ("offset", .map): offset = try ControlQuestion.number(name, key, value)
      case ("length", .map): length = try ControlQuestion.number(name, key, value)
      default:
        throw ImageError(
          .invalidParameter, "\(name)?\(escaped(key))=\(escaped(value)): \(name) knows no such key")
      }
    }
  }

  /// The range that is asked for, of a disk of `size` bytes. Errors: `.invalidParameter` where it is not
  /// inside.
  func range(ofDisk size: UInt64, _ name: String) throws(ImageError) -> Range<UInt64> {
    guard offset <= size, (length ?? 0) <= size - offset else {
      throw ImageError(
        .invalidParameter,
        "\(escaped(name)): offset \(offset) and length \(length ?? 0) do not lie inside "
          + "the disk, which has \(size) bytes"
      )
    }
    return offset..<(length.map { offset + $0 } ?? size)
  }

  private static func number(_ name: String, _ key: String, _ value: String) throws(ImageError) -> UInt64 {
    guard value.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt64(value) else {
      throw bad(name, key, value, "a number of bytes")
    }
    return number
  }

  private static func bad(_ name: String, _ key: String, _ value: String, _ wanted: String) -> ImageError {
    ImageError(.invalidParameter, "\(name)?\(escaped(key))=\(escaped(value)): \(wanted) is needed there")
  }
}
