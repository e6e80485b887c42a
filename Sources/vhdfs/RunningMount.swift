import Glibc
import MountedView
import Storage
import SystemPackage

/// Asks the mount that holds an image, where there is one: only it knows what has not reached the file yet.
enum RunningMount {
  /// The whole answer of `MOUNT/NAME/control/QUESTION`, or nil when no mount of this user's holds the image.
  static func answer(about image: String, _ question: String) -> [UInt8]? {
    var answer: [UInt8] = []
    guard let file = open(question, about: image) else { return nil }
    defer { try? file.close() }
    do {
      while let piece = try read(file) { answer += piece }
      return answer
    } catch {
      return nil
    }
  }

  /// Copies an answer that may be long to the standard output; false when no mount holds the image.
  static func copyAnswer(about image: String, _ question: String) throws(ImageError) -> Bool {
    guard let file = open(question, about: image) else { return false }
    defer { try? file.close() }
    while true {
      let piece: [UInt8]?
      do {
        piece = try read(file)
      } catch {
        let cause = error as? Errno ?? .ioError
        throw ImageError(
          errno: cause, "\(escaped(image)): the mount that holds it did not answer: \(cause.description)")
      }
      guard let piece else { return true }
      try StandardOutput.write(piece)
    }
  }

  private static func open(_ question: String, about image: String) -> FileDescriptor? {
    guard let resolved = realpath(image, nil) else { return nil }
    defer { free(resolved) }
    let path = String(cString: resolved)
    guard let name = FilePath(path).lastComponent else { return nil }
    for mount in MountTable.entries where mount.isMine && mount.mayHold(path) {
      let control = FilePath(mount.mountPoint).appending(name).appending("control")
      // The same name is not the same image: the mount says which file it is.
      guard let info = contents(of: control.appending("info")),
        info.split(separator: UInt8(ascii: "\n")).first?.elementsEqual("path \(escaped(path))".utf8) == true
      else { continue }
      if let file = try? FileDescriptor.open(control.appending(question), .readOnly) { return file }
    }
    return nil
  }

  private static func contents(of path: FilePath) -> [UInt8]? {
    guard let file = try? FileDescriptor.open(path, .readOnly) else { return nil }
    defer { try? file.close() }
    var contents: [UInt8] = []
    while true {
      guard let piece = try? read(file) else { return contents.isEmpty ? nil : contents }
      contents += piece
    }
  }

  /// The next bytes of the file, nil at its end.
  private static func read(_ file: FileDescriptor) throws -> [UInt8]? {
    let piece = try [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
      count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
    }
    return piece.isEmpty ? nil : piece
  }
}
