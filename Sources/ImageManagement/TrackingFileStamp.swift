import Glibc

/// What tells one state of a tracking file from another without opening it.
public struct TrackingFileStamp: Hashable, Sendable {
  let device: UInt64
  let inode: UInt64
  let size: Int64
  let seconds: Int
  let nanoseconds: Int

  /// Of the tracking file beside the image at `path`; nil when there is none. Waits for the host.
  public init?(beside path: String) {
    var status = stat()
    guard lstat(path + ".tracking", &status) == 0 else { return nil }
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
    size = Int64(status.st_size)
    seconds = status.st_mtim.tv_sec
    nanoseconds = status.st_mtim.tv_nsec
  }
}
