import Storage
import VirtualDisk

/// Notices images that come, go and change.
final class SourceWatcher: Sendable {
  let server: Server
  init(server: Server) { self.server = server }
  func begin() {}
  func finish() {}
}
