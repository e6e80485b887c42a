import Storage

/// One fact of a report.
public struct ReportField: Sendable {
  public enum Value: Sendable {
    /// From a file, a user or the system: escaped when it is written, whatever the form.
    case text(String)
    /// What an `ImageError` says: the bytes from files, users and the system in it are escaped already, and are not escaped
    /// again.
    case sentence(String)
    case number(UInt64)
    /// `1` or `0` in text, `true` or `false` in JSON.
    case flag(Bool)
    /// Seconds with three decimals.
    case seconds(milliseconds: UInt64)
    /// Several things of a kind, each with facts of its own. In JSON an array of objects. In text their number, and then
    /// for each a line that begins with `item` (`partition`) and has the values, without their keys.
    case list(item: StaticString, [[ReportField]])
  }

  public let key: StaticString
  public let value: Value

  public init(_ key: StaticString, _ value: Value) {
    self.key = key
    self.value = value
  }
}

/// A sentence made safe to print in one line, with what is escaped in it already left as it is.
///
/// Whoever writes a sentence escapes what comes from elsewhere. If that was forgotten, no control byte gets out all the same.
public func escapedSentence(_ sentence: String) -> String {
  sentence.utf8.split(separator: UInt8(ascii: "\\"), omittingEmptySubsequences: false)
    .map { escaped(String(decoding: $0, as: UTF8.self)) }.joined(separator: "\\")
}

/// The bytes of a report while it is being written.
///
/// Written by hand and not through a JSON encoder: keys keep the documented order, a map of millions of ranges is
/// written piece by piece, and nothing is allocated for a number.
struct ReportBytes {
  var bytes: [UInt8] = []

  mutating func append(_ text: StaticString) {
    text.withUTF8Buffer { bytes.append(contentsOf: $0) }
  }

  mutating func append(_ number: UInt64) {
    var digits: (UInt64, UInt64, UInt32) = (0, 0, 0)  // 20 bytes: the longest 64-bit number
    withUnsafeMutableBytes(of: &digits) { digits in
      var rest = number
      var first = digits.count
      repeat {
        first -= 1
        digits[first] = UInt8(ascii: "0") + UInt8(rest % 10)
        rest /= 10
      } while rest > 0
      bytes.append(contentsOf: digits[first...])
    }
  }

  /// A value of a text line: control bytes and backslashes are escaped, so that it stays one line.
  mutating func appendEscaped(_ text: String) {
    bytes.append(contentsOf: escaped(text).utf8)
  }

  /// A JSON string: escaped as in text first, and then by JSON's own rules, of which quotes and backslashes are left.
  mutating func appendQuoted(_ text: String) { appendString(escaped(text)) }

  private mutating func appendString(_ escaped: String) {
    append("\"")
    for byte in escaped.utf8 {
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { bytes.append(UInt8(ascii: "\\")) }
      bytes.append(byte)
    }
    append("\"")
  }

  /// `KEY VALUE` lines.
  mutating func appendLines(_ fields: [ReportField]) {
    for field in fields {
      append(field.key)
      append(" ")
      appendText(field.value)
      append("\n")
      guard case .list(let item, let elements) = field.value else { continue }
      for element in elements {
        append(item)
        for part in element {
          append(" ")
          appendText(part.value)
        }
        append("\n")
      }
    }
  }

  private mutating func appendText(_ value: ReportField.Value) {
    switch value {
    case .text(let text): appendEscaped(text)
    case .sentence(let sentence): bytes.append(contentsOf: escapedSentence(sentence).utf8)
    case .number(let number): append(number)
    case .flag(let flag): append(flag ? "1" : "0")
    case .seconds(let milliseconds): appendSeconds(milliseconds)
    case .list(_, let elements): append(UInt64(elements.count))
    }
  }

  /// A JSON object with one member a line, indented by `margin` and two spaces more; no newline at its end.
  mutating func appendObject(_ fields: [ReportField], margin: StaticString = "") {
    appendObjectBegin(fields, margin: margin)
    append("\n")
    append(margin)
    append("}")
  }

  /// The same without its end: more members may follow.
  mutating func appendObjectBegin(_ fields: [ReportField], margin: StaticString = "") {
    append("{")
    for (index, field) in fields.enumerated() {
      append(index == 0 ? "\n" : ",\n")
      append(margin)
      append("  \"")
      append(field.key)
      append("\": ")
      appendJSON(field.value)
    }
  }

  private mutating func appendJSON(_ value: ReportField.Value) {
    switch value {
    case .text(let text): appendQuoted(text)
    case .sentence(let sentence): appendString(escapedSentence(sentence))
    case .number(let number): append(number)
    case .flag(let flag): append(flag ? "true" : "false")
    case .seconds(let milliseconds): appendSeconds(milliseconds)
    case .list(_, let elements):
      append("[")
      for (index, element) in elements.enumerated() {
        append(index == 0 ? "" : ", ")
        appendInline(element)
      }
      append("]")
    }
  }

  private mutating func appendSeconds(_ milliseconds: UInt64) {
    append(milliseconds / 1000)
    let rest = milliseconds % 1000
    append(rest < 10 ? ".00" : rest < 100 ? ".0" : ".")
    append(rest)
  }

  /// A JSON object in one line.
  mutating func appendInline(_ fields: [ReportField]) {
    append("{")
    for (index, field) in fields.enumerated() {
      append(index == 0 ? "\"" : ", \"")
      append(field.key)
      append("\": ")
      appendJSON(field.value)
    }
    append("}")
  }
}
