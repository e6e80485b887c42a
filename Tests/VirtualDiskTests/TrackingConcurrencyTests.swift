import ChangeTracking
import Dispatch
import Foundation
import Storage
import Synchronization
import TestSupport
import Testing

@testable import VirtualDisk

/// Points that are made while many write.
@Suite("Points of a disk that is being written")
struct TrackingConcurrencyTests {
  private struct Write: Sendable {
    var page: UInt64
    /// Moments, as numbers that rise.
    var began: Int
    var ended: Int
  }

  @Test(
    "what is written after a point is in the answer, what was written before is not",
    arguments: ConcurrencyTests.Kind.allCases)
  func pointsBetweenWrites(_ kind: ConcurrencyTests.Kind) throws {
    let folder = try ImageFolder()
    let (name, _) = try ConcurrencyTests.makeChain(kind, in: folder.path)
    let library = try DiskLibrary(sources: [folder.path])
    try library.setTracking(.on, of: name)
    try library.makePoint("begin", of: name)
    let handle = try library.open(name, access: .write)
    let disk = handle.disk
    let clock = Atomic<Int>(1)
    let isDone = Atomic<Bool>(false)
    let done = Mutex<[Write]>([])
    let problems = Mutex<[String]>([])
    @Sendable func now() -> Int { clock.add(1, ordering: .sequentiallyConsistent).newValue }

    // Threads of their own: those of a queue may all be busy with other tests.
    let group = DispatchGroup()
    let count = Atomic<Int>(0)
    func start(_ body: @escaping @Sendable () -> Void) {
      group.enter()
      Thread.detachNewThread {
        body()
        group.leave()
      }
    }
    for worker in 0..<4 {
      start {
        var generator = SeededGenerator(seed: UInt64(worker) &+ 77)
        var mine: [Write] = []
        while !isDone.load(ordering: .relaxed) {
          let page = UInt64.random(in: 0..<(ConcurrencyTests.size / 4096), using: &generator)
          let began = now()
          do {
            if Int.random(in: 0..<6, using: &generator) == 0 {
              try disk.zero(at: page * 4096, length: 4096)
            } else {
              let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: began | 1), count: 4096)
              _ = try bytes.withUnsafeBytes { try disk.write($0, at: page * 4096, mayWait: true) }
            }
          } catch {
            problems.withLock { $0.append("\(error)") }
            return
          }
          mine.append(Write(page: page, began: began, ended: now()))
          count.add(1, ordering: .relaxed)
        }
        let all = mine
        done.withLock { $0 += all }
      }
    }
    // Marks are taken away and closes happen in between.
    start {
      while !isDone.load(ordering: .relaxed) {
        try? disk.tracking.clearQuietMarks(disk.leaf)
        do { try disk.finishWriting() } catch { problems.withLock { $0.append("\(error)") } }
        usleep(3000)
      }
    }
    func contents(_ disk: VirtualDisk) throws -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: Int(ConcurrencyTests.size))
      _ = try bytes.withUnsafeMutableBytes { try disk.read(into: $0, at: 0, mayWait: true) }
      return bytes
    }
    var points: [(id: String, asked: Int, made: Int)] = []
    /// What was read right after points, as a backup does it.
    var copies: [String: [UInt8]] = [:]
    for number in 0..<24 {
      let seen = count.load(ordering: .relaxed)
      while count.load(ordering: .relaxed) < seen + 20, problems.withLock({ $0.isEmpty }) { usleep(1000) }
      let asked = now()
      let point = try disk.makePoint("p\(number)")
      points.append((point.id, asked, now()))
      if number % 3 == 0 { copies[point.id] = try contents(disk) }
      if number % 5 == 4 {
        try disk.dropPoint(points[number / 2].id)
        points[number / 2].id = ""
      }
    }
    isDone.store(true, ordering: .relaxed)
    group.wait()
    #expect(problems.withLock { $0 }.isEmpty)
    let writes = done.withLock { $0 }
    #expect(writes.count > 200)
    let last = try contents(disk)
    for live in [true, false] {
      if !live { try handle.close() }
      let reader = try DiskLibrary(sources: [folder.path])
      let other = live ? nil : try reader.open(name, access: .read)
      defer { try? other?.close() }
      for point in points where !point.id.isEmpty {
        let changes = try (other?.disk ?? disk).changes(since: point.id)
        var found: Set<UInt64> = []
        var position: UInt64 = 0
        while let range = try changes.next(from: position, end: ConcurrencyTests.size) {
          found.formUnion((range.lowerBound / 4096)...((range.upperBound - 1) / 4096))
          position = range.upperBound
        }
        if let copy = copies[point.id] {
          // What is not in the answer is as it was copied; the next increment would not have it.
          let stale = (0..<(ConcurrencyTests.size / 4096)).filter { page in
            let range = Int(page) * 4096..<(Int(page) + 1) * 4096
            return !found.contains(page) && copy[range] != last[range]
          }
          #expect(stale.isEmpty, "\(point): pages \(stale) changed after it")
        }
        let missed = Set(writes.filter { $0.began > point.made }.map(\.page)).subtracting(found)
        // A zeroed range that was zero already is no change.
        let needed = try missed.filter { page in
          let last = writes.filter { $0.page == page }.max { $0.began < $1.began }
          var bytes = [UInt8](repeating: 0, count: 4096)
          _ = try bytes.withUnsafeMutableBytes {
            try (other?.disk ?? disk).read(into: $0, at: page * 4096, mayWait: true)
          }
          return last != nil && bytes.contains { $0 != 0 }
        }
        let extra = found.subtracting(writes.filter { $0.ended > point.asked }.map(\.page))
        #expect(needed.isEmpty && extra.isEmpty, "\(point): \(needed.count) missed, \(extra.count) too many")
      }
    }
  }
}
