import CFuse
import Glibc
import Storage

/// The buffers into which requests are received: a fixed number, made when first needed and kept.
///
/// The serving thread holds one; a write that is handed to a worker keeps the buffer its bytes lie in, and
/// the worker gives it back. Running out makes the serving thread wait: that many writes are under way then.
///
/// Unchecked: `free` and `made` are only touched under the monitor.
final class ReceiveBuffers: @unchecked Sendable {
  /// The largest payload of a request and of an answer.
  static let largestTransfer = 1 << 20
  /// With room for the headers.
  static let capacity = largestTransfer + 4096
  static let limit = 24
  /// Where a buffer begins in its pages: such that the bytes of a WRITE, behind its two headers, begin a
  /// page. The kernel copies page by page, and each page that straddles two of ours would be copied in two
  /// steps.
  private static let start =
    4096 - MemoryLayout<fuse_in_header>.size - MemoryLayout<fuse_write_in>.size

  private let monitor = Monitor()
  private var free: [UnsafeMutableRawPointer] = []
  private var made = 0

  init() { free.reserveCapacity(ReceiveBuffers.limit) }

  deinit {
    for buffer in free { (buffer - ReceiveBuffers.start).deallocate() }
  }

  func take() -> UnsafeMutableRawPointer {
    monitor.locked {
      while true {
        if let buffer = free.popLast() { return buffer }
        if made < ReceiveBuffers.limit {
          made += 1
          let size = ReceiveBuffers.capacity + 4096
          return UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096) + ReceiveBuffers.start
        }
        monitor.wait()
      }
    }
  }

  func giveBack(_ buffer: UnsafeMutableRawPointer) {
    monitor.locked {
      free.append(buffer)
      monitor.signal()
    }
  }
}
