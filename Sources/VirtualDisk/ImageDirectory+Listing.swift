import Glibc
import LinuxSystem
import Storage
import SystemPackage

/// A regular file in a directory, by the bytes of its name, which need not be text.
struct ListedFile {
  /// Without directories.
  let name: [UInt8]
  let stamp: FileStamp

  /// Nil where the name is no UTF-8. Never repaired: it would be another file's name then.
  var text: String? { String(validating: name, as: UTF8.self) }
}

extension ImageDirectory {
  /// The names of regular files in it that end like an image's, ascending. A name that is no UTF-8 is passed over.
  func imageNames() -> [String] {
    var names: [String] = []
    // What cannot be listed has no names; whoever must know says so by `regularFiles`.
    try? forEachEntry { name, _ in
      guard let text = String(validatingCString: name), ImageDirectory.isImageName(text),
        status(of: text) != nil
      else { return }
      names.append(text)
    }
    return names.sorted()
  }

  /// Every regular file in it, whatever it is called. Waits. Errors: the system's.
  func regularFiles() throws(ImageError) -> [ListedFile] {
    var files: [ListedFile] = []
    try forEachEntry { name, type in
      guard type == DT_REG || type == DT_UNKNOWN, let stamp = status(ofBytes: name) else { return }
      let bytes = UnsafeRawBufferPointer(start: name, count: strlen(name))
      files.append(ListedFile(name: Array(bytes), stamp: stamp))
    }
    return files
  }

  /// Opens a file that was listed, for reading.
  func open(_ file: ListedFile) throws(ImageError) -> HostFile {
    let path = printedPath(file)
    let found = linux_open_beneath(descriptor, file.name.map(CChar.init(bitPattern:)) + [0], O_RDONLY)
    guard found >= 0 else { throw HostFile.openingError(path, errno) }
    return try HostFile.regular(path: path, descriptor: found, writable: false)
  }

  /// The path of a file that was listed, to be read only; bytes that are no text are replaced.
  func printedPath(_ file: ListedFile) -> String {
    absolutePath(String(decoding: file.name, as: UTF8.self))
  }

  /// Calls `body` with each name, and with its type as readdir(3) has it, which may be unknown.
  private func forEachEntry(_ body: (UnsafePointer<CChar>, Int) -> Void) throws(ImageError) {
    func failure(_ code: Int32) -> ImageError {
      let cause = Errno(rawValue: code)
      return ImageError(errno: cause, "\(escaped(path)): cannot be listed: \(cause.description)")
    }
    // A descriptor of its own: reading a directory moves its position.
    let copy = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard copy >= 0, let stream = fdopendir(copy) else {
      let code = errno
      if copy >= 0 { close(copy) }
      throw failure(code)
    }
    defer { closedir(stream) }
    while true {
      errno = 0
      guard let entry = readdir(stream) else { break }
      let type = Int(entry.pointee.d_type)
      withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { body($0, type) }
      }
    }
    guard errno == 0 else { throw failure(errno) }
  }
}
