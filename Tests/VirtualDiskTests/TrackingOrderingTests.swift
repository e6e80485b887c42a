import ChangeTracking
import Foundation
import Simulation
import Storage
import Synchronization
import TestSupport
import Testing

@testable import VirtualDisk

/// Two threads that meet at just the moment that matters.
@Suite("Change tracking: what waits for what")
struct TrackingOrderingTests {
  private final class Tracked: Sendable {
    let image: InterleavedFile
    let record: InterleavedFile
    let boot = GUID.random()
    let disk: VirtualDisk

    init() throws {
      let file = RecordedFile()
      try CrashChain.create(.dynamicVHDX, size: 64 << 20, parent: nil, in: file)
      image = InterleavedFile(file)
      record = InterleavedFile(RecordedFile())
      disk = try Tracked.open(image, record, boot)
      try disk.setTracking(.reset)
      _ = try disk.makePoint("a")
    }

    static func open(
      _ image: any HostFileDouble, _ record: any HostFileDouble, _ boot: GUID
    ) throws -> VirtualDisk {
      try VirtualDisk(
        leaf: HostFile(path: "leaf", double: image, identity: FileIdentity(device: 1, inode: 2)), over: nil,
        tracking: GivenTracking(HostFile(path: "leaf.tracking", double: record), boot: boot))
    }

    func write(at offset: UInt64) throws {
      let bytes = pattern(seed: offset, count: 4096)
      _ = try bytes.withUnsafeBytes { try disk.write($0, at: offset, mayWait: true) }
    }
  }

  /// Something that another thread does.
  private final class Elsewhere: Sendable {
    private let ended = DispatchSemaphore(value: 0)
    private let failure = Mutex<String?>(nil)

    func start(_ body: @escaping @Sendable () throws -> Void) {
      Thread.detachNewThread {
        do { try body() } catch { self.failure.withLock { $0 = "\(error)" } }
        self.ended.signal()
      }
    }

    /// Whether it ends within a second and a half: long enough on a busy machine for what does not wait.
    func endsSoon() -> Bool {
      guard ended.wait(timeout: .now() + .milliseconds(1500)) == .success else { return false }
      ended.signal()
      return true
    }

    func end() -> String? {
      ended.wait()
      return failure.withLock { $0 }
    }
  }

  @Test("a point waits for the write that is under way", arguments: [InterleavedFile.Kind.write, .punch])
  func pointWaits(_ kind: InterleavedFile.Kind) throws {
    let tracked = try Tracked()
    try tracked.write(at: 0)
    try tracked.write(at: 8192)
    let place = try #require(
      try tracked.disk.leaf.locate(0, limit: 4096, mayWait: true).fileOffset as UInt64?)
    let other = Elsewhere()
    let wasEarly = Atomic<Bool>(false)
    tracked.image.on(kind, .before, in: place..<(place + 4096)) {
      other.start { _ = try tracked.disk.makePoint("b") }
      if other.endsSoon() { wasEarly.store(true, ordering: .relaxed) }
    }
    if kind == .write {
      try tracked.write(at: 0)
    } else {
      try tracked.disk.zero(at: 0, length: 4096)
    }
    #expect(other.end() == nil)
    #expect(tracked.image.waitingCount == 0)
    let isEarly = wasEarly.load(ordering: .relaxed)
    #expect(!isEarly, "the point was made while a change that was noted before was not")
    #expect(try tracked.disk.changes(since: "b").next(from: 0, end: tracked.disk.size) == nil)
  }

  /// Its bit may be written after the record's last flush, and its mark be gone, when it zeroes in the next session. That it
  /// waits from the noting on, and not only from the leaf's step on, no double can show: nothing of the host is between.
  @Test("the end of a session waits for the zeroing that noted its change")
  func closeWaits() throws {
    let tracked = try Tracked()
    try tracked.write(at: 0)
    let place = try #require(
      try tracked.disk.leaf.locate(0, limit: 4096, mayWait: true).fileOffset as UInt64?)
    let other = Elsewhere()
    let wasEarly = Atomic<Bool>(false)
    tracked.image.on(.punch, .before, in: place..<(place + 4096)) {
      other.start { try tracked.disk.finishWriting() }
      if other.endsSoon() { wasEarly.store(true, ordering: .relaxed) }
    }
    try tracked.disk.zero(at: 0, length: 4096)
    #expect(other.end() == nil)
    #expect(tracked.image.waitingCount == 0)
    let isEarly = wasEarly.load(ordering: .relaxed)
    #expect(!isEarly, "the record was closed while a change that was noted before was not made")
  }

  @Test("a write waits until the mark that it relies on is durable")
  func writeWaitsForMark() throws {
    let tracked = try Tracked()
    try tracked.write(at: 0)
    let other = Elsewhere()
    let wasEarly = Atomic<Bool>(false)
    // The flush of the region table.
    tracked.record.on(.flush, .before) {
      other.start { try tracked.write(at: 40 << 20) }
      if other.endsSoon() { wasEarly.store(true, ordering: .relaxed) }
    }
    try tracked.write(at: (40 << 20) + 8192)
    #expect(other.end() == nil)
    #expect(tracked.record.waitingCount == 0)
    let isEarly = wasEarly.load(ordering: .relaxed)
    #expect(!isEarly, "a write into a region went on before its mark was durable")
  }

  @Test("a mark stays when somebody writes while marks are taken away", arguments: [true, false])
  func markStays(_ isBefore: Bool) throws {
    let tracked = try Tracked()
    try tracked.write(at: 0)
    try tracked.write(at: 40 << 20)
    try tracked.disk.flush()
    try tracked.disk.tracking.clearQuietMarks(tracked.disk.leaf)
    // Nobody has written since the last look; but now, in the middle of this one. Then, before the marks that are left
    // are durable, power fails.
    let states = Mutex<[SparseBytes]>([])
    tracked.record.on(.flush, isBefore ? .before : .after) {
      try tracked.write(at: 8192)
      tracked.record.on(.flush, .before) {
        let epoch = tracked.record.file.pending
        let count = epoch.dataEntries.count
        guard count <= 10 else { throw ImageError(.failed, "\(count) changes of the record wait") }
        for subset in 0..<(1 << count) {
          let fates: [CrashChoice.Fate] = (0..<count).map { subset >> $0 & 1 == 1 ? .kept : .lost }
          states.withLock {
            $0.append(epoch.state(CrashChoice(fates: fates, sizes: epoch.sizeEntries.count)))
          }
        }
      }
    }
    try tracked.disk.tracking.clearQuietMarks(tracked.disk.leaf)
    #expect(tracked.record.waitingCount == 0)
    let cut = states.withLock { $0 }
    #expect(cut.count >= 2)
    for (number, lost) in cut.enumerated() {
      let after = try Tracked.open(RecordedFile(tracked.image.file.contents), RecordedFile(lost), .random())
      let changes = try after.changes(since: "a")
      #expect(try changes.next(from: 8192, end: 12288) == 8192..<12288, "state \(number) of \(cut.count)")
    }
    let after = try Tracked.open(
      RecordedFile(tracked.image.file.contents), RecordedFile(tracked.record.file.contents), .random())
    let changes = try after.changes(since: "a")
    #expect(try changes.next(from: 8192, end: 12288) == 8192..<12288)
    // The other region's mark is gone.
    #expect(try changes.next(from: (40 << 20) + 4096, end: after.size) == nil)
  }
}
