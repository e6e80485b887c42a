import Glibc
import Storage
import SystemPackage

/// What must be true of a mount point before a mount is made on it.
enum MountPoint {
  /// Clears away a dead mount of our own that is in the way.
  ///
  /// Errors: the mount point is no directory; it is one of our mounts already; a SOURCE lies on it, so that
  /// the server would have to ask itself.
  static func prepare(_ options: MountOptions) throws(ImageError) {
    let path = options.mountPoint
    // A server that was killed leaves its mount behind: every access to it fails. (Attributes that the kernel
    // remembers may hide that for a while; the file system's are never remembered.)
    var fileSystem = statvfs()
    if MountTable.top(at: path)?.isOurs == true, statvfs(path, &fileSystem) != 0, errno == ENOTCONN {
      try Unmounting.unmount(path, lazily: true)
    }
    var status = stat()
    guard stat(path, &status) == 0 else {
      let cause = Errno(rawValue: errno)
      throw ImageError(errno: cause, "\(escaped(path)): cannot be mounted on: \(cause.description)")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw ImageError(errno: .notDirectory, "\(escaped(path)): cannot be mounted on: it is not a directory")
    }
    if MountTable.top(at: path)?.isOurs == true {
      throw ImageError(.inUse, "\(escaped(path)): images are mounted there already; unmount them first")
    }
    for source in options.sources + options.parentDirectories {
      guard let resolved = realpath(source, nil) else { continue }
      defer { free(resolved) }
      let real = String(cString: resolved)
      if real == path || real.hasPrefix(path == "/" ? "/" : path + "/") {
        throw ImageError(
          .invalidParameter,
          "\(escaped(source)): lies on the mount point \(escaped(path)), which will hide it; "
            + "mount on another directory"
        )
      }
    }
  }
}
