import Foundation
import Simulation
import Storage
import Synchronization
import TestSupport
import Testing
import VirtualDisk

/// What happens when one operation meets another at the worst moment. The moments are made, not waited for.
@Suite("Operations that meet")
struct OrderingTests {
  static let dynamic: [ChainKind] = [.dynamicVHDX, .dynamicVHD]
  static let children: [ChainKind] = [.childVHDX, .child4KVHDX, .childVHD]
  static let written: [ChainKind] = [.dynamicVHDX, .childVHDX, .dynamicVHD, .childVHD]
  /// A whole block of either format, and the first byte of another.
  static let block = 1 << 20
  static let other = 4 << 20

  func all(_ byte: UInt8, _ count: Int = 4096) -> [UInt8] { [UInt8](repeating: byte, count: count) }

  @Test("A reader never sees room that was given away under it", arguments: dynamic)
  func readerOfFreedRoom(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0)
    try meeting.disk.flush()
    let place = try meeting.place(0)
    meeting.file.on(.read, .before, in: place..<(place + 4096)) {
      try meeting.disk.zero(at: 0, length: UInt64(OrderingTests.block))
      for _ in 0..<3 { try meeting.disk.flush() }
      for number in 0..<4 {
        try meeting.write(0x22, at: OrderingTests.block * (number + 1), count: OrderingTests.block)
      }
    }
    let seen = try meeting.read(0)
    #expect(meeting.file.waitingCount == 0)
    #expect(seen == all(0x11) || seen == all(0), "another block's bytes: \(seen[0])")
  }

  @Test("Room that a block gives up during a commit is reused only after the next one", arguments: dynamic)
  func roomGivenUpDuringCommit(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0, count: OrderingTests.block)
    try meeting.disk.flush()
    try meeting.write(0x44, at: OrderingTests.other)
    // The commit has taken its pages: the table that it writes still speaks of the block.
    meeting.file.on(.flush, .after) {
      try meeting.disk.zero(at: 0, length: UInt64(OrderingTests.block))
    }
    try meeting.disk.flush()
    #expect(meeting.file.waitingCount == 0)
    for number in 1..<4 {
      try meeting.write(0x22, at: OrderingTests.block * number, count: OrderingTests.block)
    }
    // The program is killed now.
    let seen = try Meeting.read(meeting.reopened(), 0, count: OrderingTests.block)
    let isItsOwn = seen.allSatisfy { $0 == 0x11 || $0 == 0 }
    #expect(isItsOwn, "another block's bytes")
  }

  @Test("Room that is being zeroed is not another block's yet", arguments: dynamic)
  func roomBeingZeroed(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0, count: OrderingTests.block)
    try meeting.write(0x44, at: OrderingTests.other)
    try meeting.disk.flush()
    let place = try meeting.place(0)
    meeting.file.on(.punch, .before, in: place..<(place + 4096)) {
      for number in 1..<4 {
        try meeting.write(0x22, at: OrderingTests.block * number, count: OrderingTests.block)
      }
    }
    try meeting.disk.zero(at: 0, length: UInt64(OrderingTests.block))
    for _ in 0..<3 { try meeting.disk.flush() }
    #expect(meeting.file.waitingCount == 0)
    for number in 1..<4 {
      let bytes = try meeting.read(OrderingTests.block * number, count: OrderingTests.block)
      let isIntact = bytes.allSatisfy { $0 == 0x22 }
      #expect(isIntact, "block \(number)")
    }
  }

  @Test("Room that a block gave up is the host's again", arguments: dynamic)
  func roomIsTheHosts(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0, count: OrderingTests.block)
    try meeting.write(0x44, at: OrderingTests.other)
    try meeting.disk.flush()
    let place = try meeting.place(0)
    #expect(meeting.file.nextData(from: place, end: place + 65536) == place)
    try meeting.disk.zero(at: 0, length: UInt64(OrderingTests.block))
    for _ in 0..<3 { try meeting.disk.flush() }
    #expect(meeting.file.nextData(from: place, end: place + 65536) == nil)
  }

  @Test("A writer never writes into room that was given away under it", arguments: dynamic)
  func writerOfFreedRoom(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0)
    try meeting.disk.flush()
    let place = try meeting.place(0)
    meeting.file.on(.write, .before, in: place..<(place + 4096)) {
      try meeting.disk.zero(at: 0, length: UInt64(OrderingTests.block))
      for _ in 0..<3 { try meeting.disk.flush() }
      for number in 0..<4 {
        try meeting.write(0x22, at: OrderingTests.block * (number + 1), count: OrderingTests.block)
      }
    }
    try meeting.write(0x33, at: 0)
    #expect(meeting.file.waitingCount == 0)
    for number in 0..<4 {
      let bytes = try meeting.read(OrderingTests.block * (number + 1), count: OrderingTests.block)
      let isIntact = bytes.allSatisfy { $0 == 0x22 }
      #expect(isIntact, "block \(number + 1)")
    }
  }

  @Test("Zeroing never hits room that was given away under it", arguments: dynamic)
  func zeroingOfFreedRoom(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0, count: 65536)
    try meeting.disk.flush()
    let place = try meeting.place(0)
    meeting.file.on(.punch, .before, in: place..<(place + 4096)) {
      try meeting.disk.zero(at: 0, length: UInt64(OrderingTests.block))
      for _ in 0..<3 { try meeting.disk.flush() }
      for number in 0..<4 {
        try meeting.write(0x22, at: OrderingTests.block * (number + 1), count: OrderingTests.block)
      }
    }
    try meeting.disk.zero(at: 0, length: 4096)
    #expect(meeting.file.waitingCount == 0)
    for number in 0..<4 {
      let bytes = try meeting.read(OrderingTests.block * (number + 1), count: OrderingTests.block)
      let isIntact = bytes.allSatisfy { $0 == 0x22 }
      #expect(isIntact, "block \(number + 1)")
    }
  }

  @Test("A write on its way keeps its block, though all else of it was zeroed", arguments: dynamic)
  func writerOfBlockThatLooksEmpty(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0)
    try meeting.disk.flush()
    let place = try meeting.place(0)
    meeting.file.on(.write, .before, in: (place + 8192)..<(place + 12288)) {
      try meeting.disk.zero(at: 0, length: 4096)
      for _ in 0..<3 { try meeting.disk.flush() }
    }
    try meeting.write(0x33, at: 8192)
    #expect(meeting.file.waitingCount == 0)
    #expect(try meeting.read(8192) == all(0x33))
    try meeting.disk.finishWriting()
    #expect(try Meeting.read(meeting.reopened(), 8192) == all(0x33))
  }

  @Test("A write that ends between two looks at its block keeps it")
  func writerBetweenTwoLooks() throws {
    let meeting = try Meeting(.dynamicVHDX)
    try meeting.write(0x11, at: 0)
    try meeting.disk.flush()
    let place = try meeting.place(0)
    let mayGoOn = DispatchSemaphore(value: 0)
    let isOnItsWay = DispatchSemaphore(value: 0)
    meeting.file.on(.write, .before, in: (place + 8192)..<(place + 12288)) {
      isOnItsWay.signal()
      mayGoOn.wait()
    }
    let writer = Aside { try meeting.write(0x33, at: 8192) }
    isOnItsWay.wait()
    meeting.file.on(.nextData, .after, in: place..<(place + 4096)) {
      // The block looked empty. The write ends while its writers are waited for.
      DispatchQueue.global().asyncAfter(deadline: .now() + 0.05) { mayGoOn.signal() }
    }
    try meeting.disk.zero(at: 0, length: 4096)
    try writer.wait()
    #expect(meeting.file.waitingCount == 0)
    #expect(try meeting.read(8192) == all(0x33))
  }

  @Test("A block that was written after it looked empty is not given up")
  func writtenAfterItLookedEmpty() throws {
    let meeting = try Meeting(.dynamicVHD)
    try meeting.write(0x11, at: 0)
    try meeting.write(0x44, at: OrderingTests.other)
    try meeting.disk.flush()
    let (place, otherPlace) = try (meeting.place(0), meeting.place(OrderingTests.other))
    // A reader holds the epoch back, so that the empty block stays on the list for a while.
    let mayGoOn = DispatchSemaphore(value: 0)
    let isOnItsWay = DispatchSemaphore(value: 0)
    meeting.file.on(.read, .before, in: otherPlace..<(otherPlace + 4096)) {
      isOnItsWay.signal()
      mayGoOn.wait()
    }
    let reader = Aside { _ = try meeting.read(OrderingTests.other) }
    isOnItsWay.wait()
    try meeting.disk.zero(at: 0, length: 4096)
    try meeting.disk.flush()
    meeting.file.on(.write, .before, in: (place + 8192)..<(place + 12288)) {
      mayGoOn.signal()
      try reader.wait()
      try meeting.write(0x45, at: OrderingTests.other)
      try meeting.disk.flush()
    }
    try meeting.write(0x33, at: 8192)
    // Where the block was given up too early the write went elsewhere, and the reader waits still.
    mayGoOn.signal()
    #expect(meeting.file.waitingCount == 0)
    #expect(try meeting.read(8192) == all(0x33))
    try meeting.disk.finishWriting()
    #expect(try Meeting.read(meeting.reopened(), 8192) == all(0x33))
  }

  @Test("A write that lost its block to zeroing sets no bits in the next one")
  func bitsOfAnotherBlock() throws {
    let meeting = try Meeting(.dynamicVHD)
    try meeting.write(0x11, at: 0)
    try meeting.disk.flush()
    let place = try meeting.place(0)
    let block = 512 << 10
    meeting.file.on(.write, .before, in: place..<(place + 4096)) {
      try meeting.disk.zero(at: 0, length: UInt64(block))
      try meeting.write(0x22, at: 0)
    }
    // The whole block at once: with it all bits would be set.
    try meeting.write(0x33, at: 0, count: block)
    #expect(meeting.file.waitingCount == 0)
    try meeting.write(0x44, at: 65536)
    try meeting.disk.flush()
    #expect(try Meeting.read(meeting.reopened(), 65536) == all(0x44))
  }

  @Test("A change that comes after a commit's first flush belongs to the next commit", arguments: children)
  func changeDuringCommit(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    // The session and the log are open, and the late write's block has its bitmap.
    try meeting.write(0x11, at: 0)
    try meeting.disk.flush()
    let late = 3 << 20
    let old = Array(meeting.before[late..<(late + 4096)])
    #expect(old != all(0))
    try meeting.write(0x22, at: 8192)
    let states = Mutex<[SparseBytes]>([])
    meeting.file.on(.flush, .after) { try meeting.write(0x33, at: late) }
    for _ in 0..<2 {
      meeting.file.on(.flush, .before) {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<150 {
          let state = meeting.file.file.crashState(&generator)
          states.withLock { $0.append(state) }
        }
      }
    }
    try meeting.disk.flush()
    for state in states.withLock({ $0 }) {
      let seen = try Meeting.read(try Meeting.open(RecordedFile(state), meeting.parents), late)
      for sector in 0..<8 {
        let part = Array(seen[(sector * 512)..<((sector + 1) * 512)])
        #expect(
          part == all(0x33, 512) || part == Array(old[(sector * 512)..<((sector + 1) * 512)]),
          "sector \(sector) reads as \(part[0])")
      }
    }
  }

  @Test("The table speaks of a child's bytes only when they are there", arguments: children)
  func bitsBeforeData(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0)
    try meeting.disk.flush()
    let target = 3 << 20
    let old = Array(meeting.before[target..<(target + 4096)])
    try meeting.write(0x22, at: target + 65536)
    try meeting.disk.flush()
    let place = try meeting.place(target + 65536) - 65536
    let left = Mutex<SparseBytes?>(nil)
    meeting.file.on(.write, .before, in: place..<(place + 4096)) {
      try meeting.disk.flush()
      left.withLock { $0 = meeting.file.file.contents }
    }
    try meeting.write(0x33, at: target)
    let state = try #require(left.withLock { $0 })
    #expect(try Meeting.read(try Meeting.open(RecordedFile(state), meeting.parents), target) == old)
  }

  @Test("A clean close waits for the writes under way", arguments: written + [.fixedVHD, .fixedVHDX])
  func closeUnderWriters(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0)
    try meeting.disk.flush()
    let mayGoOn = DispatchSemaphore(value: 0)
    let isOnItsWay = DispatchSemaphore(value: 0)
    let place = try meeting.place(0)
    meeting.file.on(.write, .before, in: (place + 8192)..<(place + 12288)) {
      isOnItsWay.signal()
      mayGoOn.wait()
    }
    let writer = Aside { try meeting.write(0x33, at: 8192) }
    isOnItsWay.wait()
    let close = Aside { try meeting.disk.finishWriting() }
    #expect(!close.hasEnded(within: 0.1), "the close did not wait")
    mayGoOn.signal()
    try writer.wait()
    try close.wait()
    #expect(!meeting.disk.hasUncommittedChanges)
    #expect(meeting.file.file.pendingCount == 0, "a closed file has something to lose")
    #expect(try Meeting.read(meeting.reopened(), 8192) == all(0x33))
  }

  @Test("What is changed while a clean close commits is not forgotten", arguments: written)
  func changeDuringClose(_ kind: ChainKind) throws {
    let meeting = try Meeting(kind)
    try meeting.write(0x11, at: 0)
    meeting.file.on(.flush, .after) { try? meeting.write(0x33, at: OrderingTests.other) }
    try meeting.disk.finishWriting()
    #expect(meeting.file.waitingCount == 0)
    // The write may have begun a session of its own, which its owner ends.
    try meeting.disk.finishWriting()
    #expect(!meeting.disk.hasUncommittedChanges)
    #expect(meeting.file.file.pendingCount == 0)
    #expect(try Meeting.read(meeting.reopened(), OrderingTests.other) == all(0x33))
  }

  @Test("A block that is given up while a clean close commits is not forgotten")
  func blockGivenUpDuringClose() throws {
    let meeting = try Meeting(.dynamicVHDX)
    try meeting.write(0x11, at: 0)
    try meeting.disk.flush()
    try meeting.disk.flush()
    let place = try meeting.place(0)
    let mayGoOn = DispatchSemaphore(value: 0)
    let isThere = DispatchSemaphore(value: 0)
    // Between the second look at the block and the change of its entry.
    meeting.file.on(.nextData, .after, in: place..<(place + 4096)) {}
    meeting.file.on(.nextData, .after, in: place..<(place + 4096)) {
      isThere.signal()
      mayGoOn.wait()
    }
    let zeroing = Aside { try meeting.disk.zero(at: 0, length: 4096) }
    isThere.wait()
    // The close's second commit, the one before the log is given up, has taken its pages.
    meeting.file.on(.flush, .after) {}
    meeting.file.on(.flush, .after) {
      mayGoOn.signal()
      try zeroing.wait()
    }
    try meeting.disk.finishWriting()
    #expect(meeting.file.waitingCount == 0)
    #expect(!meeting.disk.hasUncommittedChanges)
    #expect(try Meeting.read(meeting.reopened(), 0) == all(0))
  }
}
