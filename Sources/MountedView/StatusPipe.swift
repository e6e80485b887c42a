import Glibc
import Storage
import Synchronization
import SystemPackage

/// How a process in the background tells the one that started it whether the mount was made.
///
/// The word is `0` for ready, or the return value, the errno and the sentence of an error, separated by
/// blanks. An end without a word means that the process died.
final class StatusPipe: Sendable {
  private let descriptor: Mutex<Int32>

  /// What the pipe is called in the process that is started.
  static let childDescriptor: Int32 = 3

  init(writing descriptor: Int32) {
    self.descriptor = Mutex(descriptor)
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
  }

  func tellReady() { say("0") }

  /// Said to nobody when the mount had been ready before.
  func tell(_ error: ImageError) {
    say("\(error.returnValue.rawValue) \(error.errno.rawValue) \(error.description)")
  }

  private func say(_ word: String) {
    let target = descriptor.withLock { current in
      defer { current = -1 }
      return current
    }
    guard target >= 0 else { return }
    _ = try? FileDescriptor(rawValue: target).writeAll(word.utf8)
    close(target)
  }

  /// Waits for the word of `child`. Errors: what it says; its death.
  static func wait(_ descriptor: Int32, for child: pid_t) throws(ImageError) {
    var word: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(descriptor, &piece, piece.count)
      if count > 0 { word += piece[..<count] } else if count == 0 || errno != EINTR { break }
    }
    if word == [UInt8(ascii: "0")] { return }
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    let parts = String(decoding: word, as: UTF8.self).split(separator: " ", maxSplits: 2)
    guard parts.count == 3, let value = UInt32(parts[0]), let code = Int32(parts[1]) else {
      let how = status & 0x7F != 0 ? "by signal \(status & 0x7F)" : "with status \(status >> 8 & 0xFF)"
      throw ImageError(.failed, "the mount was not made: the process that was to serve it ended \(how)")
    }
    throw ImageError(ReturnValue(rawValue: value), errno: Errno(rawValue: code), String(parts[2]))
  }
}
