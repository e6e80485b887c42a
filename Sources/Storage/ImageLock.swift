import Glibc
import LinuxSystem
import Synchronization
import SystemPackage

/// The byte-range locks on one image file, in the way that QEMU understands: one writer, or any number of readers.
///
/// QEMU takes read locks (of the open file description) on byte 100 + n for a permission it uses and on 200 + n for
/// one it does not share with others (n: 0 consistent read, 1 write, 2 write unchanged, 3 resize), and then asks
/// whether anybody else holds what contradicts. The bytes below are chosen so that each side notices the other
/// whichever comes first, and a reader of QEMU's (`-r`, `-U`) is let in beside a reader of ours.
public struct ImageLock {
  public enum Mode: Sendable {
    case reader, writer

    var bytes: [off_t] {
      switch self {
      case .reader: [100, 201, 203]
      case .writer: [100, 101, 103, 201, 203]
      }
    }

    /// Bytes that nobody else may hold.
    var contradicting: [off_t] {
      switch self {
      case .reader: [200, 101, 103]
      case .writer: [200, 201, 203, 101, 103]
      }
    }
  }

  /// What taking the locks came to.
  public enum Outcome: Sendable {
    case taken
    /// The host's file system knows no such locks: the image is used without, and the user is told.
    case unsupported
  }
}

extension HostFile {
  /// Takes the locks of `mode`, also when those of a reader are held already.
  ///
  /// Errors: `.inUse`, with the holder's name where it can be known; what was held before is held still.
  public func lock(_ mode: ImageLock.Mode) throws(ImageError) -> ImageLock.Outcome {
    guard double == nil else { return .taken }
    for byte in mode.bytes where linux_lock_set(descriptor, Int16(F_RDLCK), byte) != 0 {
      switch errno {
      case ENOLCK, EOPNOTSUPP, EINVAL, ENOSYS: return .unsupported
      case EACCES, EAGAIN: throw lockRefused(mode)
      default: throw systemError("locking", errno)
      }
    }
    for byte in mode.contradicting where linux_lock_is_held(descriptor, byte) == 1 {
      throw lockRefused(mode)
    }
    return .taken
  }

  /// Gives up writing, and goes on as a reader.
  public func unlockToReader() {
    guard double == nil else { return }
    for byte in ImageLock.Mode.writer.bytes where !ImageLock.Mode.reader.bytes.contains(byte) {
      _ = linux_lock_set(descriptor, Int16(F_UNLCK), byte)
    }
  }

  /// Gives all locks up.
  public func unlock() {
    guard double == nil else { return }
    for byte in ImageLock.Mode.writer.bytes { _ = linux_lock_set(descriptor, Int16(F_UNLCK), byte) }
  }

  private func lockRefused(_ mode: ImageLock.Mode) -> ImageError {
    let holders = LockHolder.holders(of: identity, except: getpid())
    let who = holders.isEmpty ? "another program" : holders.map(\.description).joined(separator: ", ")
    switch mode {
    case .reader:
      unlock()
      return ImageError(
        .inUse, "\(escaped(path)): is being written by \(who); close it there, or wait until it is done")
    case .writer:
      unlockToReader()
      return ImageError(.inUse, "\(escaped(path)): is in use by \(who); close it there first")
    }
  }
}
