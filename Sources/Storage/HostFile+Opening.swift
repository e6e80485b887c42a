import Glibc
import LinuxSystem
import SystemPackage

extension HostFile {
  /// Opens a regular file by path, links followed, for the commands, which act with the user's own rights.
  ///
  /// Errors: the system's; `.notSupported` for what is no regular file.
  public static func open(_ path: String, writable: Bool) throws(ImageError) -> HostFile {
    let flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK
    let descriptor = Glibc.open(path, flags)
    guard descriptor >= 0 else { throw openingError(path, errno) }
    return try regular(path: path, descriptor: descriptor, writable: writable)
  }

  /// Makes a new file; an existing one is never replaced (EEXIST).
  public static func create(_ path: String) throws(ImageError) -> HostFile {
    let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0o644)
    guard descriptor >= 0 else {
      let code = Errno(rawValue: errno)
      if code == .fileExists {
        throw ImageError(
          .invalidParameter, errno: code,
          "\(escaped(path)): exists already; choose another name or remove it first")
      }
      throw ImageError(errno: code, "\(escaped(path)): cannot be made: \(code.description)")
    }
    return try regular(path: path, descriptor: descriptor, writable: true)
  }

  /// Wraps a descriptor that was opened elsewhere, after making sure that it is a regular file.
  public static func regular(path: String, descriptor: Int32, writable: Bool) throws(ImageError) -> HostFile {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let code = errno
      close(descriptor)
      throw openingError(path, code)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw ImageError(
        .notSupported, "\(escaped(path)): is not a regular file; only regular files are opened as images")
    }
    return try HostFile(path: path, descriptor: descriptor, isWritable: writable)
  }

  /// What a failed open(2) means to the user.
  public static func openingError(_ path: String, _ code: Int32) -> ImageError {
    let cause = Errno(rawValue: code)
    return ImageError(errno: cause, "\(escaped(path)): cannot be opened: \(cause.description)")
  }
}
