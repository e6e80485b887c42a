import Dispatch
import Synchronization
import Testing

@testable import MountedView

/// Requests under way take so many buffers and no more: whoever needs another waits until one is given back.
@Suite struct ReceiveBuffersTests {
  @Test func theLimitIsKept() {
    let buffers = ReceiveBuffers()
    var taken = (0..<ReceiveBuffers.limit).map { _ in buffers.take() }
    #expect(Set(taken).count == 24)
    // Each holds the largest request; they do not overlap.
    let sorted = taken.sorted()
    for (one, next) in zip(sorted, sorted.dropFirst()) { #expect(next - one >= 1 << 20 + 4096) }

    let extra = Mutex<Int?>(nil)
    let hasAnother = DispatchSemaphore(value: 0)
    let thread = DispatchQueue(label: "another")
    thread.async {
      let buffer = buffers.take()
      extra.withLock { $0 = Int(bitPattern: buffer) }
      hasAnother.signal()
    }
    #expect(hasAnother.wait(timeout: .now() + 0.3) == .timedOut)
    let last = taken.removeLast()
    buffers.giveBack(last)
    #expect(hasAnother.wait(timeout: .now() + 30) == .success)
    #expect(extra.withLock { $0 } == Int(bitPattern: last))
    for buffer in taken + [last] { buffers.giveBack(buffer) }
  }
}
