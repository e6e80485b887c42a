import Glibc

/// The signals that wait for a thread whose system call this program is serving.
///
/// Such a thread is inside the kernel until it is answered: whatever it was sent since stays pending, and shows in
/// `/proc/TID/status`. An interrupted request tells only that there is some signal, which may be a resized terminal or the
/// end of a child; the numbers tell whether somebody wants the call to end.
enum CallerSignals {
  /// What a user or a supervisor sends to end a program.
  private static let ending = [SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGKILL]

  /// Whether one of those waits that the thread would take if it could.
  ///
  /// False for 0, a caller that this process cannot see (in another PID namespace), and where /proc does not tell.
  static func wantEnd(ofThread thread: Int32) -> Bool {
    thread > 0 && wantEnd(status: SystemText.text(of: "/proc/\(thread)/status"))
  }

  /// - Parameter status: the text of `/proc/TID/status`.
  static func wantEnd(status: String) -> Bool {
    var masks: [Substring: UInt64] = [:]
    for line in status.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let value = line[line.index(after: colon)...].filter { $0 != "\t" && $0 != " " }
      switch line[..<colon] {
      case "SigPnd", "ShdPnd", "SigBlk", "SigIgn": masks[line[..<colon]] = UInt64(value, radix: 16)
      default: continue
      }
    }
    // The thread's own and its process's. What it blocks does not end its call and may wait for ever; what it ignores is
    // pending only if it is blocked too. Nothing blocks SIGKILL, which is also what a thread is sent when a signal that is
    // not handled is about to end its process.
    let pending = (masks["SigPnd"] ?? 0) | (masks["ShdPnd"] ?? 0)
    let deaf = (masks["SigBlk"] ?? 0) | (masks["SigIgn"] ?? 0)
    return ending.contains { pending & ~deaf & (1 << UInt64($0 - 1)) != 0 }
  }
}
