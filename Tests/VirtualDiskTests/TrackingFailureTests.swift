import ChangeTracking
import Simulation
import Storage
import TestSupport
import Testing
import VHD
import VHDX

@testable import VirtualDisk

/// What happens when changes cannot be recorded.
@Suite("Changes that cannot be recorded")
struct TrackingFailureTests {
  /// An image in memory with its tracking file.
  private struct Tracked {
    let image = RecordedFile()
    let record = RecordedFile()
    let boot = GUID.random()

    init(isVHD: Bool) throws {
      try CrashChain.create(isVHD ? .dynamicVHD : .dynamicVHDX, size: 8 << 20, parent: nil, in: image)
      let disk = try open()
      try disk.setTracking(.reset)
      _ = try disk.makePoint("a")
    }

    func open(strict: Bool = false, soleWriter: Bool = false) throws -> VirtualDisk {
      var options = TrackingOptions()
      options.isStrict = strict
      options.isSoleWriter = soleWriter
      let identity = FileIdentity(device: 1, inode: 2)
      return try VirtualDisk(
        leaf: HostFile(path: "leaf", double: image, identity: identity), over: nil,
        tracking: GivenTracking(HostFile(path: "leaf.tracking", double: record), boot: boot, options: options)
      )
    }
  }

  private static func write(_ disk: VirtualDisk, at offset: UInt64) throws {
    let bytes = pattern(seed: 3, count: 4096)
    _ = try bytes.withUnsafeBytes { try disk.write($0, at: offset, mayWait: true) }
  }

  private static func refusal(_ disk: VirtualDisk) -> ImageError? {
    do {
      _ = try disk.changes(since: "a")
      return nil
    } catch {
      return error
    }
  }

  /// The Nth change of the tracking file fails, alone: the write goes on, and nothing is missed: either the answer has it,
  /// or there is none.
  @Test("the record is given up before the write goes on", arguments: [true, false], [false, true])
  func givenUp(_ isVHD: Bool, _ isNoSpace: Bool) throws {
    var given = 0
    for number in 0..<30 {
      let tracked = try Tracked(isVHD: isVHD)
      let disk = try tracked.open()
      tracked.record.follow(
        .init([.write, .resize, .flush], first: number, .fails(isNoSpace ? .noSpace : .ioError)))
      try TrackingFailureTests.write(disk, at: 1 << 20)
      try TrackingFailureTests.write(disk, at: 5 << 20)
      tracked.record.clearFaults()
      for disk in [disk, try tracked.open(soleWriter: true)] {
        if let refusal = TrackingFailureTests.refusal(disk) {
          #expect(refusal.returnValue == .wrongDataType, "\(number): \(refusal)")
          given += 1
        } else {
          let changes = try disk.changes(since: "a")
          let first = try changes.next(from: 0, end: disk.size)
          let second = try changes.next(from: 2 << 20, end: disk.size)
          #expect(first == 1 << 20..<(1 << 20) + 4096 && second == 5 << 20..<(5 << 20) + 4096, "\(number)")
        }
      }
      try disk.finishWriting()
      #expect(try disk.trackingFacts().refusal != nil || tracked.record.failedCount == 0)
    }
    #expect(given > 6)
  }

  @Test("with strict tracking the write fails, and the disk is as it was", arguments: [true, false])
  func strict(_ isVHD: Bool) throws {
    var refused = 0
    for number in 0..<12 {
      let tracked = try Tracked(isVHD: isVHD)
      let disk = try tracked.open(strict: true)
      tracked.record.follow(.init([.write, .resize], first: number, .fails(.noSpace)))
      do {
        try TrackingFailureTests.write(disk, at: 1 << 20)
      } catch let error as ImageError {
        refused += 1
        #expect(error.errno == .noSpace)
        var bytes = [UInt8](repeating: 1, count: 4096)
        _ = try bytes.withUnsafeMutableBytes { try disk.read(into: $0, at: 1 << 20, mayWait: true) }
        #expect(bytes.allSatisfy { $0 == 0 }, "\(number)")
      }
      tracked.record.clearFaults()
      // When there is room again, it goes on.
      try TrackingFailureTests.write(disk, at: 1 << 20)
      #expect(try disk.changes(since: "a").next(from: 0, end: disk.size) == 1 << 20..<(1 << 20) + 4096)
    }
    #expect(refused >= 3)
  }

  /// The host may have forgotten bits that it could not write, and say at the next flush that all is well.
  @Test(
    "after a flush of the record that failed none of it is believed", arguments: [true, false], [true, false])
  func failedFlush(_ isVHD: Bool, _ isStrict: Bool) throws {
    var failed = 0
    for number in 0..<14 {
      let tracked = try Tracked(isVHD: isVHD)
      let disk = try tracked.open(strict: isStrict)
      tracked.record.follow(.init([.flush], first: number, .fails(.ioError)))
      let steps: [() throws -> Void] = [
        { try TrackingFailureTests.write(disk, at: 1 << 20) }, { try disk.maintainOnce() },
        { try disk.maintainOnce() }, { _ = try disk.makePoint("b") }, { try disk.dropPoint("b") },
        { try TrackingFailureTests.write(disk, at: 2 << 20) }, { try disk.finishWriting() },
      ]
      for step in steps {
        let before = tracked.record.failedFlushes
        do { try step() } catch {
          #expect(isStrict || tracked.record.failedFlushes > before || disk.isWriting)
        }
        guard tracked.record.failedFlushes > 0 else { continue }
        failed += 1
        // Where a change that cannot be recorded fails, it does from now on.
        if isStrict {
          #expect(throws: ImageError.self) { try TrackingFailureTests.write(disk, at: 3 << 20) }
        } else {
          try TrackingFailureTests.write(disk, at: 3 << 20)
        }
        #expect(TrackingFailureTests.refusal(disk)?.returnValue == .wrongDataType, "flush \(number)")
        let again = try tracked.open(soleWriter: true)
        #expect(TrackingFailureTests.refusal(again)?.returnValue == .wrongDataType, "flush \(number)")
        break
      }
    }
    #expect(failed >= 10)
  }

  @Test("where not even the end of the record can be recorded, nothing is written", arguments: [true, false])
  func neither(_ isVHD: Bool) throws {
    let tracked = try Tracked(isVHD: isVHD)
    let disk = try tracked.open()
    tracked.record.follow(.init([.write, .resize, .flush], first: 0, lasts: true, .fails(.ioError)))
    #expect(throws: ImageError.self) { try TrackingFailureTests.write(disk, at: 0) }
    var bytes = [UInt8](repeating: 1, count: 4096)
    _ = try bytes.withUnsafeMutableBytes { try disk.read(into: $0, at: 0, mayWait: true) }
    #expect(bytes.allSatisfy { $0 == 0 })
  }

  @Test(
    "a VHD that was not closed: refused, believed of the sole writer, and never after writes without a record"
  )
  func uncleanVHD() throws {
    let tracked = try Tracked(isVHD: true)
    try TrackingFailureTests.write(try tracked.open(), at: 1 << 20)
    // Killed.
    let refusal = TrackingFailureTests.refusal(try tracked.open())
    #expect(refusal?.errno.rawValue == 116 && refusal?.sentence.contains("sole-writer") == true)
    let believed = try tracked.open(soleWriter: true)
    #expect(try believed.changes(since: "a").next(from: 0, end: 8 << 20) == 1 << 20..<(1 << 20) + 4096)
    // Written by somebody who does not believe it, and so does not record.
    let untracked = try tracked.open()
    try TrackingFailureTests.write(untracked, at: 3 << 20)
    try untracked.finishWriting()
    #expect(TrackingFailureTests.refusal(try tracked.open(soleWriter: true))?.returnValue == .wrongDataType)
  }

  @Test("a point is refused while the record cannot be written, and the disk goes on")
  func pointFails() throws {
    for number in 0..<6 {
      let tracked = try Tracked(isVHD: false)
      let disk = try tracked.open()
      try TrackingFailureTests.write(disk, at: 0)
      tracked.record.follow(.init([.write, .resize], first: number, .fails(.noSpace)))
      do {
        _ = try disk.makePoint("b")
        #expect(tracked.record.failedCount == 0)
      } catch {
        #expect(error.errno == .noSpace)
        #expect(try disk.trackingFacts().points.map(\.name) == ["a"])
      }
      tracked.record.clearFaults()
      try TrackingFailureTests.write(disk, at: 2 << 20)
      try disk.finishWriting()
      let again = try tracked.open()
      #expect(try again.changes(since: "a").next(from: 1 << 20, end: 8 << 20) == 2 << 20..<(2 << 20) + 4096)
    }
  }
}
