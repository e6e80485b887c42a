import Glibc
import ImageManagement
import Logging
import Storage
import Synchronization
import TestSupport
import VirtualDisk

@testable import MountedView

/// A mount that is served by threads of this process, whose first operation file takes a `TimedOperation`.
final class JobMount: Sendable {
  let root: TemporaryDirectory
  let images: String
  let point: String
  let messages = Messages()
  private let hasEnded = Atomic<Bool>(false)
  private let failure = Mutex<ImageError?>(nil)

  /// What the mount logged.
  final class Messages: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    func add(_ line: String) { lines.withLock { $0.append(line) } }
  }

  private struct Handler: LogHandler {
    let messages: Messages
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.debug
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }
    func log(event: LogEvent) { messages.add("\(event.message)") }
  }

  init(images names: [String] = ["a.vhdx"]) throws {
    root = try TemporaryDirectory()
    images = try root.directory("images")
    point = try root.directory("mount")
    for name in names { try Vhdfs.create("\(images)/\(name)", ["--size", "64M"]) }
    let options = MountOptions(sources: [images], mountPoint: point)
    let messages = messages
    let log = Logger(label: "test") { _ in Handler(messages: messages) }
    let ready = Ready()
    let thread = SystemThread("mount") { [self] in
      do throws(ImageError) {
        try MountService.serve(options, log: log, operations: [TimedOperation.self]) { ready.set() }
      } catch {
        failure.withLock { $0 = error }
      }
      hasEnded.store(true, ordering: .releasing)
    }
    guard let thread else { throw TestFailure("no thread") }
    thread.detach()
    // The kernel's first request comes by itself; ready is said when it was answered.
    guard eventually(within: 20, { ready.isSet || hasEnded.load(ordering: .acquiring) }), ready.isSet else {
      throw TestFailure("no mount: \(failure.withLock { $0?.description ?? "" })")
    }
  }

  private final class Ready: Sendable {
    private let value = Atomic<Bool>(false)
    func set() { value.store(true, ordering: .releasing) }
    var isSet: Bool { value.load(ordering: .acquiring) }
  }

  func control(_ name: String, of image: String = "a.vhdx") -> String { "\(point)/\(image)/control/\(name)" }

  /// The value of a key of a control file; nil where it is not there.
  func fact(_ key: String, in name: String = "job", of image: String = "a.vhdx") throws -> String? {
    try textOfFile(control(name, of: image)).split(separator: "\n").first { $0.hasPrefix("\(key) ") }
      .map { String($0.dropFirst(key.count + 1)) }
  }

  /// Writes a line; returns the errno, 0 where it was taken.
  func order(_ line: String, _ name: String = TimedOperation.word, of image: String = "a.vhdx") -> Int32 {
    let file = open(control(name, of: image), O_WRONLY | O_TRUNC | O_CLOEXEC)
    if file < 0 { return errno }
    defer { close(file) }
    return write(file, line, line.utf8.count) < 0 ? errno : 0
  }

  /// Unmounts and waits for the server's end.
  func unmount() throws {
    for _ in 0..<20 where try !run(["umount", "-i", point]).succeeded { usleep(100_000) }
    guard eventually(within: 20, { hasEnded.load(ordering: .acquiring) }) else {
      throw TestFailure("the server did not end")
    }
  }

  deinit { if VhdfsMount.isMountPoint(point) { _ = try? run(["umount", "-i", "-l", point]) } }
}
