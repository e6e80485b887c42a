import Glibc
import LinuxSystem
import Storage
import SystemPackage

/// What must be true of a mount point before a mount is made on it.
enum MountPoint {
  /// Errors: the mount point is no directory, or one that a SOURCE lies on.
  static func prepare(_ options: MountOptions) throws(ImageError) {
    let path = options.mountPoint
    var status = stat()
    if stat(path, &status) != 0 {
      let code = errno
      throw ImageError(errno: Errno(rawValue: code), "\(escaped(path)): cannot be mounted on: \(Errno(rawValue: code).description)")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw ImageError(errno: .notDirectory, "\(escaped(path)): cannot be mounted on: it is not a directory")
    }
  }
}
