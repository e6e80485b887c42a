import Glibc

/// A system call or a helper program that a test relies on failed, in one sentence.
public struct TestFailure: Error, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }

  static func system(_ what: String) -> TestFailure {
    TestFailure("\(what): \(String(cString: strerror(errno)))")
  }
}

/// What a program did.
public struct ProgramResult: Sendable {
  public var command: String
  /// The exit status; 128 + n for the end by signal n.
  public var status: Int32
  public var output: String
  public var errors: String
  public var seconds: Double
  /// The most memory seen in use, in bytes (VmHWM, looked at every few milliseconds).
  public var peakMemory: UInt64
  public var timedOut: Bool

  public var succeeded: Bool { status == 0 && !timedOut }

  /// All of it, for a test's comment.
  public var summary: String {
    "\(command): status \(status)\(timedOut ? " (timed out)" : ""), \(seconds) s, \(peakMemory >> 20) MiB\n"
      + "\(output.suffix(2000))\(errors.suffix(2000))"
  }
}

/// Runs a program found in PATH to its end, with its output captured, and kills it and what it started after
/// `timeout` seconds.
public func run(
  _ words: [String], input: [UInt8]? = nil, timeout: Double = 60, directory: String? = nil,
  environment: [String: String] = [:]
) throws -> ProgramResult {
  let running = try RunningProgram(words, input: input, directory: directory, environment: environment)
  return running.wait(timeout: timeout)
}

/// Runs a program that must succeed; the error says what it printed.
@discardableResult
public func runChecked(
  _ words: [String], input: [UInt8]? = nil, timeout: Double = 60, directory: String? = nil
) throws -> String {
  let result = try run(words, input: input, timeout: timeout, directory: directory)
  guard result.succeeded else { throw TestFailure(result.summary) }
  return result.output
}

/// Whether a program of this name can be run.
public func isInstalled(_ program: String) -> Bool {
  let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin:/usr/sbin:/sbin"
  return path.split(separator: ":").contains { access("\($0)/\(program)", X_OK) == 0 }
}
