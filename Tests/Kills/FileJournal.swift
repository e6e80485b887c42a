import Synchronization
import TestSupport

/// Which version each file must hold: the last that was made durable, or one issued since.
final class FileJournal: Sendable {
  private struct Entry {
    var floor: UInt64
    var issued: [UInt64]
  }

  private struct State {
    var entries: [String: Entry] = [:]
    var version: UInt64 = 0
  }

  private let state = Mutex(State())

  func begin(_ name: String) -> UInt64 {
    state.withLock { state in
      state.version += 1
      state.entries[name, default: Entry(floor: 0, issued: [])].issued.append(state.version)
      return state.version
    }
  }

  func settle(_ name: String, _ version: UInt64) {
    state.withLock { $0.entries[name] = Entry(floor: version, issued: []) }
  }

  /// From 1 byte to 300 KiB, with the version in front.
  static func contents(_ name: String, _ version: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: version)
    let count = Int.random(in: 1...300, using: &generator) * Int.random(in: 1...1024, using: &generator)
    let seed = name.utf8.reduce(version) { $0 &* 31 &+ UInt64($1) }
    return withUnsafeBytes(of: version.littleEndian) { Array($0) } + pattern(seed: seed, count: count)
  }

  /// Compares every file; returns how many there were. What they hold is all they may hold from then on.
  func verify(_ directory: String) throws -> Int {
    try state.withLock { state in
      var count = 0
      for (name, entry) in state.entries {
        let path = "\(directory)/\(name)"
        let allowed = [entry.floor] + entry.issued
        guard fileExists(path) else {
          guard entry.floor == 0 else { throw TestFailure("\(name): was made durable and is gone") }
          continue
        }
        let file = try OpenFile(path)
        let bytes = try file.read(at: 0, count: Int(file.size))
        guard bytes.count > 8,
          let version = allowed.first(where: { version in
            version != 0 && bytes.starts(with: withUnsafeBytes(of: version.littleEndian) { Array($0) })
          }), same(bytes, FileJournal.contents(name, version))
        else {
          throw TestFailure("\(name): holds \(bytes.count) bytes that are none of its versions \(allowed)")
        }
        state.entries[name] = Entry(floor: version, issued: [])
        count += 1
      }
      return count
    }
  }
}
