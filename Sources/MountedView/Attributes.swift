import Glibc
import VirtualDisk

/// What `stat` shows of a node.
struct Attributes: Sendable {
  let owner: uid_t
  let group: gid_t
  /// Taken away from every mode.
  let mask: mode_t
  let mounted: Int64

  func directory(_ number: NodeNumber, mode: mode_t, modified: Int64? = nil) -> stat {
    var status = common(number, S_IFDIR | mode, modified)
    status.st_nlink = 2
    return status
  }

  /// A control file: its size is not known before it is opened.
  func facts(_ number: NodeNumber, modified: Int64? = nil) -> stat {
    common(number, S_IFREG | 0o400, modified)
  }

  /// A control file that may be one to write to.
  func control(_ number: NodeNumber, _ file: ControlFile) -> stat {
    common(number, S_IFREG | (file.isWritable ? 0o600 : 0o400), nil)
  }

  /// - Parameter allocated: bytes of room the image uses on the host; a disk that could hold more looks
  ///   sparse, so that copying programs ask for holes.
  func raw(_ number: NodeNumber, length: UInt64, allocated: UInt64, modified: Int64) -> stat {
    var status = common(number, S_IFREG | 0o600, modified)
    status.st_size = off_t(clamping: length)
    status.st_blocks = blkcnt_t(clamping: min(allocated, length) / 512)
    return status
  }

  private func common(_ number: NodeNumber, _ mode: mode_t, _ modified: Int64?) -> stat {
    var status = stat()
    status.st_ino = ino_t(number.rawValue)
    status.st_mode = mode & ~(mask & 0o777)
    status.st_nlink = 1
    status.st_uid = owner
    status.st_gid = group
    status.st_blksize = 4096
    let nanoseconds = modified ?? mounted
    let time = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
    status.st_mtim = time
    status.st_ctim = time
    status.st_atim = time
    return status
  }
}
