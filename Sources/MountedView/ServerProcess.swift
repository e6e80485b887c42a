import Glibc
import LinuxSystem
import Storage
import SystemPackage

/// The process that serves a mount, as seen by one who wants to know of its end.
///
/// Not a copyable thing: it holds descriptors.
struct ServerProcess: ~Copyable {
  let process: Int32
  /// Where the farewell comes; -1 when it cannot be heard.
  private let farewell: Int32
  /// A handle on the process; -1 where the system has none.
  private let handle: Int32

  /// The server of the mount at `path`; nil when there is none, or it does not say who it is.
  init?(ofMount path: String) {
    guard let process = ServerProcess.identifier(ofMount: path) else { return nil }
    self.process = process
    handle = linux_open_process(process)
    farewell = linux_connect_to(Farewell.name(of: process), process)
  }

  deinit {
    if handle >= 0 { close(handle) }
    if farewell >= 0 { close(farewell) }
  }

  /// As the mount itself tells; where it may not be asked (it is another user's), by the command lines of all
  /// processes.
  private static func identifier(ofMount path: String) -> Int32? {
    let said = SystemText.text(of: path + "/" + Tree.daemonName).split(whereSeparator: \.isWhitespace)
    if said.count == 2, said[0] == "process", let process = Int32(said[1]) { return process }
    return SystemText.names(in: "/proc").compactMap(Int32.init).first { process in
      let words = SystemText.bytes(of: "/proc/\(process)/cmdline").split(separator: 0).map {
        String(decoding: $0, as: UTF8.self)
      }
      return words.first == "@vhdfs" && words.last == path
    }
  }

  /// Waits until the process has said farewell and has ended.
  ///
  /// Errors: what it could not write; its death; that it could not be heard.
  func waitForEnd(ofMount path: String) throws(ImageError) {
    let word = farewell >= 0 ? ServerProcess.contents(of: farewell) : nil
    // A server within this very process ends later than its mount.
    if handle >= 0 && process != getpid() {
      var descriptor = pollfd(fd: handle, events: Int16(POLLIN), revents: 0)
      while poll(&descriptor, 1, -1) < 0 && errno == EINTR {}
    }
    guard let word else {
      throw ImageError(
        .unknown,
        "\(escaped(path)): is unmounted, but whether everything was written could not be learned "
          + "from process \(process); see the system's log"
      )
    }
    if word == "0" { return }
    let parts = word.split(separator: " ", maxSplits: 2)
    guard parts.count == 3, let value = UInt32(parts[0]), let code = Int32(parts[1]) else {
      throw ImageError(
        .failed,
        "\(escaped(path)): the process that served it (\(process)) died "
          + "before everything was written; check the images"
      )
    }
    throw ImageError(ReturnValue(rawValue: value), errno: Errno(rawValue: code), String(parts[2]))
  }

  private static func contents(of descriptor: Int32) -> String {
    var word: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(descriptor, &piece, piece.count)
      if count > 0 { word += piece[..<count] } else if count == 0 || errno != EINTR { break }
    }
    return String(decoding: word, as: UTF8.self)
  }
}
