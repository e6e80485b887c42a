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
    self.path = String(cString: resolved)
    free(resolved)
    descriptor = Glibc.open(self.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
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
  func status(of name: String) -> FileStamp? {
    var status = stat()
    guard fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0, status.st_mode & S_IFMT == S_IFREG
    else {
      return nil
    }
    return FileStamp(
      identity: FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)),
      size: Int64(status.st_size),
      modified: Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec))
  }

  /// The names of regular files and links in it that end like an image's, ascending.
  func imageNames() -> [String] {
    // A descriptor of its own: reading a directory moves its position.
    let copy = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard copy >= 0, let stream = fdopendir(copy) else {
      if copy >= 0 { close(copy) }
      return []
    }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if ImageDirectory.isImageName(name), status(of: name) != nil { names.append(name) }
    }
    return names.sorted()
  }

  func absolutePath(_ name: String) -> String { path == "/" ? "/" + name : path + "/" + name }

  static let extensions = ["vhd", "avhd", "vhdx", "avhdx", "vhds"]

  static func isImageName(_ name: String) -> Bool {
    guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return false }
    return extensions.contains(name[name.index(after: dot)...].lowercased())
  }
}

/// What changes when a file's contents change.
struct FileStamp: Hashable, Sendable {
  var identity: FileIdentity
  var size: Int64
  /// Nanoseconds since 1970.
  var modified: Int64
}
