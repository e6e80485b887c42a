import Foundation
import Simulation
import Storage
import Synchronization
import TestSupport
import Testing
import VirtualDisk

extension OrderingTests {
  /// A chain whose leaf's host file can be stopped in the middle of an operation.
  final class Meeting: Sendable {
    let file: InterleavedFile
    let disk: VirtualDisk
    let parents: [SparseBytes]
    /// What the disk read as when the leaf was new.
    let before: [UInt8]

    init(_ kind: ChainKind) throws {
      let model = try ModelledDisk.chain(kind, seed: 1)
      before = model.now
      parents = model.parents
      file = InterleavedFile(RecordedFile(model.file.contents))
      disk = try Meeting.open(file, parents)
    }

    static func open(_ leaf: any HostFileDouble, _ parents: [SparseBytes]) throws -> VirtualDisk {
      try VirtualDisk(
        files: [HostFile(path: "leaf", double: leaf)]
          + parents.map { HostFile(path: "parent", double: RecordedFile($0), isWritable: false) })
    }

    func write(_ byte: UInt8, at offset: Int, count: Int = 4096) throws {
      let bytes = [UInt8](repeating: byte, count: count)
      _ = try bytes.withUnsafeBytes { try disk.write($0, at: UInt64(offset), mayWait: true) }
    }

    func read(_ offset: Int, count: Int = 4096) throws -> [UInt8] {
      try Meeting.read(disk, offset, count: count)
    }

    static func read(_ disk: VirtualDisk, _ offset: Int, count: Int = 4096) throws -> [UInt8] {
      var bytes = [UInt8](repeating: 0xEE, count: count)
      _ = try bytes.withUnsafeMutableBytes { try disk.read(into: $0, at: UInt64(offset), mayWait: true) }
      return bytes
    }

    /// Where the leaf keeps the disk's byte at `offset`.
    func place(_ offset: Int) throws -> UInt64 {
      let found = Mutex<UInt64?>(nil)
      try disk.forEachMapRun(from: UInt64(offset), length: 4096) { run in
        found.withLock { $0 = run.depth == 0 ? run.fileOffset : nil }
        return false
      }
      return try #require(found.withLock { $0 })
    }

    /// What a program that opens the file now finds.
    func reopened() throws -> VirtualDisk { try Meeting.open(RecordedFile(file.file.contents), parents) }
  }

  /// Runs `body` on a thread of its own.
  final class Aside: Sendable {
    private let ended = DispatchSemaphore(value: 0)
    private let failure = Mutex<(any Error)?>(nil)

    init(_ body: @escaping @Sendable () throws -> Void) {
      Thread { [self] in
        do { try body() } catch { failure.withLock { $0 = error } }
        ended.signal()
      }.start()
    }

    func hasEnded(within seconds: Double) -> Bool {
      guard ended.wait(timeout: .now() + seconds) == .success else { return false }
      ended.signal()
      return true
    }

    func wait() throws {
      ended.wait()
      ended.signal()
      if let error = failure.withLock({ $0 }) { throw error }
    }
  }
}
