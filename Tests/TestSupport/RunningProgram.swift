import Glibc
import TestSystem

/// A program under way: a process group of its own, its output in files that nobody else sees.
///
/// For one thread at a time.
public final class RunningProgram {
  public let pid: pid_t
  private let command: String
  private let outputFile: Int32
  private let errorFile: Int32
  private let started: Double
  private var peakMemory: UInt64 = 0
  private var result: ProgramResult?

  public init(
    _ words: [String], input: [UInt8]? = nil, directory: String? = nil, environment: [String: String] = [:]
  ) throws {
    command = words.joined(separator: " ")
    outputFile = try RunningProgram.unnamedFile()
    errorFile = try RunningProgram.unnamedFile()
    let inputFile = try RunningProgram.unnamedFile()
    defer { close(inputFile) }
    if let input {
      try writeAll(input, to: inputFile, at: 0)
    }

    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    var variables = RunningProgram.environment(with: environment).map {
      strdup($0) as UnsafeMutablePointer<CChar>?
    }
    variables.append(nil)
    defer { for text in arguments + variables { free(text) } }
    var child = pid_t()
    started = now()
    let error = test_spawn(&child, &arguments, &variables, directory, inputFile, outputFile, errorFile)
    guard error == 0 else {
      close(outputFile)
      close(errorFile)
      throw TestFailure("\(command): \(String(cString: strerror(error)))")
    }
    pid = child
  }

  deinit {
    if result == nil {
      kill(-pid, SIGKILL)
      var status: Int32 = 0
      waitpid(pid, &status, 0)
    }
    close(outputFile)
    close(errorFile)
  }

  /// Whether it has not ended yet.
  public var isRunning: Bool {
    if result == nil { poll() }
    return result == nil
  }

  public func signal(_ number: Int32) {
    if isRunning { kill(pid, number) }
  }

  /// Waits for the end; kills the process group after `timeout` seconds.
  @discardableResult
  public func wait(timeout: Double) -> ProgramResult {
    let end = now() + timeout
    var pause: UInt32 = 200
    while true {
      poll()
      if let result { return result }
      if now() > end {
        kill(-pid, SIGKILL)
        poll(options: 0, timedOut: true)
        continue
      }
      usleep(pause)
      pause = min(pause * 2, 5_000)
    }
  }

  /// What it has printed so far.
  public var output: String { RunningProgram.contents(of: outputFile) }
  public var errors: String { RunningProgram.contents(of: errorFile) }

  private func poll(options: Int32 = WNOHANG, timedOut: Bool = false) {
    guard result == nil else { return }
    peakMemory = max(peakMemory, memoryHighWater(of: pid) ?? 0)
    var status: Int32 = 0
    guard waitpid(pid, &status, options) == pid else { return }
    let signal = status & 0x7F
    result = ProgramResult(
      command: command, status: signal == 0 ? (status >> 8) & 0xFF : 128 + signal, output: output,
      errors: errors,
      seconds: now() - started, peakMemory: peakMemory, timedOut: timedOut)
  }

  private static func unnamedFile() throws -> Int32 {
    let (file, path) = try newTemporaryFile()
    unlink(path)
    return file
  }

  private static func contents(of file: Int32) -> String {
    var status = stat()
    guard fstat(file, &status) == 0, status.st_size > 0 else { return "" }
    let bytes = (try? readAll(from: file, at: 0, count: Int(status.st_size))) ?? []
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func environment(with changes: [String: String]) -> [String] {
    var result: [String] = []
    var cursor = environ
    while let entry = cursor.pointee {
      let text = String(cString: entry)
      if changes[String(text.prefix { $0 != "=" })] == nil { result.append(text) }
      cursor += 1
    }
    return result + changes.map { "\($0.key)=\($0.value)" }
  }
}

/// Seconds on the monotonic clock.
public func now() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// The most memory that a living process has had in use, in bytes.
public func memoryHighWater(of pid: pid_t) -> UInt64? {
  guard let text = try? textOfFile("/proc/\(pid)/status"),
    let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
    let kilobytes = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first
  else { return nil }
  return UInt64(kilobytes).map { $0 * 1024 }
}

/// Asks again and again, for at most `seconds`, until `condition` holds; false when it never did.
public func eventually(within seconds: Double, every pause: Double = 0.02, _ condition: () throws -> Bool)
  rethrows -> Bool
{
  let end = now() + seconds
  while true {
    if try condition() { return true }
    if now() > end { return false }
    usleep(UInt32(pause * 1e6))
  }
}
