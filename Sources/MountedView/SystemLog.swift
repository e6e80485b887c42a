import Glibc
import Logging

/// Writes to the system's log (syslog, and with it the journal).
public struct SystemLog: LogHandler {
  public var logLevel = Logger.Level.info
  public var metadata: Logger.Metadata = [:]

  /// Lives as long as the process: the system's log keeps the pointer.
  private nonisolated(unsafe) static let name = strdup("vhdfs")

  public init() { openlog(SystemLog.name, LOG_PID, LOG_DAEMON) }

  public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  public func log(event: LogEvent) {
    let priority =
      switch event.level {
      case .trace, .debug: LOG_DEBUG
      case .info: LOG_INFO
      case .notice: LOG_NOTICE
      case .warning: LOG_WARNING
      case .error: LOG_ERR
      case .critical: LOG_CRIT
      }
    event.message.description.withCString { text in
      withVaList([text]) { vsyslog(priority, "%s", $0) }
    }
  }
}

/// Writes to standard error, one line a message.
public struct TerminalLog: LogHandler {
  public var logLevel = Logger.Level.info
  public var metadata: Logger.Metadata = [:]

  public init() {}

  public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  public func log(event: LogEvent) {
    let level = event.level >= .warning ? "\(event.level): " : ""
    writeToStandardError("vhdfs: \(level)\(event.message)\n")
  }
}

/// The whole text, in one call where the system allows it.
func writeToStandardError(_ text: String) {
  var text = text
  text.withUTF8 { bytes in
    var done = 0
    while done < bytes.count, let base = bytes.baseAddress {
      let count = write(STDERR_FILENO, base + done, bytes.count - done)
      if count > 0 { done += count } else if errno != EINTR { return }
    }
  }
}
