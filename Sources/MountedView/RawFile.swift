import Glibc
import Logging
import Storage
import Synchronization
import VirtualDisk

/// An open raw file: a window on a disk, with the hold on that disk.
///
/// Offsets are bytes of the window. Reads end at its end; a write that begins there answers ENOSPC, as a
/// block device does, and one that crosses it is cut.
final class RawFile: Sendable {
  let image: ImageView
  let handle: DiskHandle
  let disk: VirtualDisk
  /// Where the window begins on the disk.
  let base: UInt64
  /// Bytes of the window.
  let length: UInt64
  let isWritable: Bool
  private let log: Logger

  init(image: ImageView, handle: DiskHandle, base: UInt64, length: UInt64, log: Logger) {
    self.image = image
    self.log = log
    self.handle = handle
    self.disk = handle.disk
    self.base = base
    self.length = length
    self.isWritable = handle.access == .write
  }

  /// How many of `count` bytes at `offset` lie inside.
  func inside(_ count: Int, at offset: UInt64) -> Int {
    offset >= length ? 0 : Int(min(UInt64(count), length - offset))
  }

  func fail(_ request: Request, _ error: ImageError) {
    // A program that tries again and again does not fill the log.
    if image.note(error) { log.error("\(error.description)") }
    request.fail(error.replyCode)
  }

  // MARK: - Reading

  func readWaiting(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, _ request: Request) {
    do throws(ImageError) {
      _ = try disk.read(into: buffer, at: base + offset, mayWait: true)
      request.reply(UnsafeRawBufferPointer(buffer))
    } catch {
      fail(request, error)
    }
  }

  // MARK: - Writing

  /// Called before any byte changes.
  func noteChange() {
    image.partitionsMayHaveChanged.store(true, ordering: .relaxed)
    image.hasUnfinishedWrites.store(true, ordering: .relaxed)
  }

  func writeWaiting(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, synchronous: Bool, _ request: Request)
  {
    do throws(ImageError) {
      noteChange()
      _ = try disk.write(bytes, at: base + offset, mayWait: true)
      // With direct I/O the kernel sends no FSYNC for O_SYNC and O_DSYNC: the write itself must be durable.
      if synchronous { try disk.flush() }
      request.replyWritten(bytes.count)
    } catch {
      fail(request, error)
    }
  }

  /// Zeroes [offset, offset + length) as far as it lies inside.
  func zero(at offset: UInt64, length wanted: UInt64, _ request: Request) {
    guard offset < length else { return request.succeed() }
    do throws(ImageError) {
      noteChange()
      try disk.zero(at: base + offset, length: min(wanted, length - offset))
      request.succeed()
    } catch {
      fail(request, error)
    }
  }

  func flush(_ request: Request) {
    do throws(ImageError) {
      try disk.flush()
      request.succeed()
    } catch {
      fail(request, error)
    }
  }

  /// A descriptor was closed: with the last one that can write, the file is left as a clean close leaves it.
  ///
  /// Descriptors that share an open file send this each; writing may go on after it.
  func descriptorClosed(_ request: Request) {
    guard isWritable, image.writers.load(ordering: .acquiring) == 1,
      image.hasUnfinishedWrites.exchange(false, ordering: .acquiringAndReleasing)
    else { return request.succeed() }
    do throws(ImageError) {
      try disk.finishWriting()
      request.succeed()
    } catch {
      image.hasUnfinishedWrites.store(true, ordering: .releasing)
      fail(request, error)
    }
  }

  // MARK: - Holes

  func seekData(from offset: UInt64, _ request: Request) {
    guard offset < length else { return request.fail(ENXIO) }
    do throws(ImageError) {
      guard let found = try disk.nextData(from: base + offset), found - base < length else {
        return request.fail(ENXIO)
      }
      request.replyOffset(found - base)
    } catch {
      fail(request, error)
    }
  }

  func seekHole(from offset: UInt64, _ request: Request) {
    guard offset < length else { return request.fail(ENXIO) }
    do throws(ImageError) {
      request.replyOffset(min(try disk.nextHole(from: base + offset) - base, length))
    } catch {
      fail(request, error)
    }
  }
}
