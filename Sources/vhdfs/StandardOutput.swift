import Glibc
import Storage
import SystemPackage

/// The standard output, written in whole: what a script reads is complete or the exit status says that it is not.
enum StandardOutput {
  static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

  /// Errors: the system's (a full disk, a reader that went away).
  static func write(_ bytes: [UInt8]) throws(ImageError) {
    do {
      _ = try FileDescriptor.standardOutput.writeAll(bytes)
    } catch {
      let cause = error as? Errno ?? .ioError
      throw ImageError(errno: cause, "standard output: cannot be written: \(cause.description)")
    }
  }
}

/// One failure on the standard error.
func complain(_ sentence: String) {
  writeToStandardError("vhdfs: \(sentence)\n")
}

/// What cannot even be complained about is told by the exit status alone.
func writeToStandardError(_ text: String) {
  _ = try? FileDescriptor.standardError.writeAll(text.utf8)
}
