import Glibc

/// A moment as reports show it: ISO 8601, UTC, whole seconds: `2026-11-21T14:42:46Z`.
///
/// - Parameter nanoseconds: since 1970.
func timeText(_ nanoseconds: Int64) -> String {
  var seconds = time_t(
    nanoseconds >= 0 ? nanoseconds / 1_000_000_000 : (nanoseconds - 999_999_999) / 1_000_000_000)
  var parts = tm()
  guard gmtime_r(&seconds, &parts) != nil else { return "" }
  func digits(_ number: Int32, _ count: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
  }
  return "\(digits(parts.tm_year + 1900, 4))-\(digits(parts.tm_mon + 1, 2))-\(digits(parts.tm_mday, 2))"
    + "T\(digits(parts.tm_hour, 2)):\(digits(parts.tm_min, 2)):\(digits(parts.tm_sec, 2))Z"
}
