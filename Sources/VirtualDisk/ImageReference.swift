import Glibc
import Storage

/// A name in a directory: how a library speaks of a file without holding it open.
struct ImageReference: Sendable {
  let directory: ImageDirectory
  let name: String

  var path: String { directory.absolutePath(name) }
  var stamp: FileStamp? { directory.status(of: name) }

  func open(writable: Bool) throws(ImageError) -> HostFile {
    try directory.open(name, writable: writable)
  }

  /// A file by the path that the user gave; links in it are followed once, here.
  init(userPath path: String) throws(ImageError) {
    guard let resolved = realpath(path, nil) else { throw HostFile.openingError(path, errno) }
    defer { free(resolved) }
    guard let whole = String(validatingCString: resolved) else { throw ImageDirectory.noText(path) }
    guard let slash = whole.utf8.lastIndex(of: UInt8(ascii: "/")), whole.utf8.count > 1 else {
      throw ImageError(.notSupported, "\(escaped(path)): is no image file")
    }
    let folder = String(whole[..<slash])
    directory = try ImageDirectory(folder.isEmpty ? "/" : folder)
    name = String(whole[whole.utf8.index(after: slash)...])
    // Told at once, rather than as an image that cannot be read.
    guard stamp != nil else {
      throw ImageError(
        .notSupported, "\(escaped(path)): is not a regular file; only regular files are opened as images")
    }
  }

  /// The directory in which the file itself is: `name` may lead through others. Errors: the system's.
  func folder() throws(ImageError) -> ImageDirectory {
    guard let slash = name.utf8.lastIndex(of: UInt8(ascii: "/")) else { return directory }
    return try ImageDirectory(String(name[..<slash]), beneath: directory)
  }

  init(directory: ImageDirectory, name: String) {
    self.directory = directory
    self.name = name
  }
}
