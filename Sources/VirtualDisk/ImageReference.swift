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
    let whole = String(cString: resolved)
    free(resolved)
    guard let slash = whole.lastIndex(of: "/"), whole.count > 1 else {
      throw ImageError(.notSupported, "\(escaped(path)): is no image file")
    }
    let folder = String(whole[..<slash])
    directory = try ImageDirectory(folder.isEmpty ? "/" : folder)
    name = String(whole[whole.index(after: slash)...])
    // Told at once, rather than as an image that cannot be read.
    guard stamp != nil else {
      throw ImageError(
        .notSupported, "\(escaped(path)): is not a regular file; only regular files are opened as images")
    }
  }

  init(directory: ImageDirectory, name: String) {
    self.directory = directory
    self.name = name
  }
}
