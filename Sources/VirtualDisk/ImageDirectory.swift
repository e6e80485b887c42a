import Glibc
import LinuxSystem
import Storage

/// A directory in which images may be found, held open: files are opened beneath its descriptor and no link is
/// followed, so that nothing outside can be reached, whatever names an image records.
final class ImageDirectory: Sendable {
  /// Absolute, without links.
  let path: String
  let descriptor: Int32

  /// Opens a directory that the user named; links in this path are followed.
  init(_ path: String) throws(ImageError) {
    guard let resolved = realpath(path, nil) else { throw HostFile.openingError(path, errno) }
    defer { free(resolved) }
    guard let text = String(validatingCString: resolved) else { throw ImageDirectory.noText(path) }
    self.path = text
    descriptor = Glibc.open(self.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw HostFile.openingError(path, errno) }
  }

  /// A path leads to a name that is no text. Repaired it would be another file's.
  static func noText(_ path: String) -> ImageError {
    ImageError(
      .invalidParameter,
      "\(escaped(path)): is a name, or leads to one, that is not UTF-8; rename the file or its folder")
  }

  /// A directory beneath this one, to which no link leads.
  init(_ name: String, beneath directory: ImageDirectory) throws(ImageError) {
    path = directory.absolutePath(name)
    descriptor = linux_open_beneath(directory.descriptor, name, O_RDONLY | O_DIRECTORY)
    guard descriptor >= 0 else { throw HostFile.openingError(path, errno) }
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  /// Opens a regular file by a path relative to this directory.
  func open(_ name: String, writable: Bool) throws(ImageError) -> HostFile {
    let whole = absolutePath(name)
    let found = linux_open_beneath(descriptor, name, writable ? O_RDWR : O_RDONLY)
    guard found >= 0 else { throw HostFile.openingError(whole, errno) }
    return try HostFile.regular(path: whole, descriptor: found, writable: writable)
  }

  /// What a name is, without opening it; nil for what is no regular file.
  func status(of name: String) -> FileStamp? { name.withCString { status(ofBytes: $0) } }

  /// The same for a name that need not be text.
  func status(ofBytes name: UnsafePointer<CChar>) -> FileStamp? {
    var status = stat()
    guard fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0, status.st_mode & S_IFMT == S_IFREG
    else {
      return nil
    }
    return FileStamp(
      identity: FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)),
      size: Int64(status.st_size), modified: FileStamp.nanoseconds(status.st_mtim),
      changed: FileStamp.nanoseconds(status.st_ctim))
  }

  /// The directory itself; nil when the system does not tell.
  var identity: FileIdentity? {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return nil }
    return FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
  }

  func absolutePath(_ name: String) -> String { path == "/" ? "/" + name : path + "/" + name }

  static let extensions = ["vhd", "avhd", "vhdx", "avhdx", "vhds"]

  static func isImageName(_ name: String) -> Bool {
    let bytes = name.utf8
    guard let dot = bytes.lastIndex(of: UInt8(ascii: ".")), dot != bytes.startIndex else { return false }
    return extensions.contains(String(name[bytes.index(after: dot)...]).lowercased())
  }
}

/// What changes when a file's contents, or the right to read them, change.
struct FileStamp: Hashable, Sendable {
  var identity: FileIdentity
  var size: Int64
  /// Nanoseconds since 1970.
  var modified: Int64
  /// When it, its rights or its names last changed; nanoseconds since 1970.
  var changed: Int64

  static func nanoseconds(_ time: timespec) -> Int64 {
    Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
