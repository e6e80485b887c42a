import Testing

@testable import MountedView

@Suite struct SlowWritesTests {
  private let millisecond: UInt64 = 1_000_000

  @Test func aSlowWriteHandsTheNextOver() {
    var writes = SlowWrites()
    #expect(!writes.shouldHandOver(at: 0))
    writes.note(began: 0, ended: millisecond)
    #expect(!writes.shouldHandOver(at: millisecond))
    writes.note(began: 0, ended: 20 * millisecond)
    #expect(writes.shouldHandOver(at: 21 * millisecond))
    #expect(!writes.shouldHandOver(at: 71 * millisecond))
  }

  @Test func thePauseGrowsAndIsForgotten() {
    var writes = SlowWrites()
    var now: UInt64 = 0
    for _ in 0..<10 {
      writes.note(began: now, ended: now + 20 * millisecond)
      now += 20 * millisecond
    }
    #expect(writes.shouldHandOver(at: now + 900 * millisecond))
    #expect(!writes.shouldHandOver(at: now + 1000 * millisecond))
    writes.note(began: now, ended: now + 1)
    writes.note(began: now, ended: now + 20 * millisecond)
    #expect(!writes.shouldHandOver(at: now + 71 * millisecond))
  }
}
