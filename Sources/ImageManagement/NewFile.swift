import Glibc
import LinuxSystem
import Storage
import SystemPackage

/// A file that gets its name only when it is whole and durable, and never takes an existing file's.
///
/// Where the host can, the file has no name at all until then, so that nothing is left of it whatever happens. Elsewhere
/// it has a hidden name in the same directory, which is removed when making it fails.
enum NewFile {
  /// Makes the file at `path` with what `fill` puts into it; `fill` leaves it durable.
  ///
  /// Errors: those of `fill`; the system's; EEXIST when there is something of that name, before or in the end.
  static func make(_ path: String, _ fill: (HostFile) throws(ImageError) -> Void) throws(ImageError) {
    var status = stat()
    guard lstat(path, &status) != 0 else { throw existing(path) }
    guard let name = FilePath(path).lastComponent?.string else {
      throw ImageError(.invalidParameter, "\(escaped(path)): is no name for a file")
    }
    let parent = FilePath(path).removingLastComponent()
    let directory = parent.isEmpty ? "." : parent.string

    let unnamed = linux_open_unnamed(directory, 0o644)
    if unnamed >= 0 {
      // The descriptor belongs to the file from here on.
      let file = try HostFile(path: path, descriptor: unnamed, isWritable: true)
      try fill(file)
      // A link to the descriptor's entry in /proc gives the file behind it a name (open(2), O_TMPFILE).
      let linked = linkat(AT_FDCWD, "/proc/self/fd/\(unnamed)", AT_FDCWD, path, AT_SYMLINK_FOLLOW)
      guard linked == 0 else { throw failure(path, "giving it its name", errno) }
      try withExtendedLifetime(file) { () throws(ImageError) in try flush(directory, for: path) }
      return
    }
    switch errno {
    case EOPNOTSUPP, EISDIR, EINVAL: break
    case let code: throw failure(path, "making it", code)
    }
    let hidden = FilePath(directory).appending(".\(name).\(GUID.random()).new").string
    let file: HostFile
    do throws(ImageError) {
      file = try HostFile.create(hidden)
    } catch {
      throw failure(path, "making it", error.errno.rawValue)
    }
    do throws(ImageError) {
      try fill(file)
      try rename(hidden, to: path)
    } catch {
      unlink(hidden)
      throw error
    }
    try flush(directory, for: path)
  }

  private static func rename(_ hidden: String, to path: String) throws(ImageError) {
    if linux_rename_without_replacing(hidden, path) == 0 { return }
    guard errno == EINVAL || errno == ENOSYS else { throw failure(path, "giving it its name", errno) }
    // A file system without that: a link is refused too where the name is taken.
    guard link(hidden, path) == 0 else { throw failure(path, "giving it its name", errno) }
    unlink(hidden)
  }

  /// The name must be as durable as the file.
  private static func flush(_ directory: String, for path: String) throws(ImageError) {
    let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(path, "opening its directory", errno) }
    defer { close(descriptor) }
    // Some file systems have nothing to flush for a directory and say EINVAL.
    guard fsync(descriptor) == 0 || errno == EINVAL else {
      throw failure(path, "flushing its directory", errno)
    }
  }

  private static func existing(_ path: String) -> ImageError {
    ImageError(
      .invalidParameter, errno: .fileExists,
      "\(escaped(path)): exists already; choose another name or remove it first")
  }

  private static func failure(_ path: String, _ what: String, _ code: Int32) -> ImageError {
    if code == EEXIST { return existing(path) }
    let cause = Errno(rawValue: code)
    return ImageError(errno: cause, "\(escaped(path)): \(what) failed: \(cause.description)")
  }
}
