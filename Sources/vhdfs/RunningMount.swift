import Glibc
import MountedView
import Storage
import SystemPackage

/// The mount of this user's that holds an image: only it knows what has not reached the files yet.
struct RunningMount {
  /// Where it is mounted.
  let point: String
  /// The image's directory in it.
  let directory: FilePath
  /// Nothing is changed through it, so that whatever it knows is in the files.
  let isReadOnly: Bool
  /// The image, as the user named it.
  private let image: String

  private var control: FilePath { directory.appending("control") }

  /// Nil when no mount of this user's holds the image.
  init?(holding image: String) {
    guard let resolved = realpath(image, nil) else { return nil }
    defer { free(resolved) }
    let path = String(cString: resolved)
    guard let name = FilePath(path).lastComponent else { return nil }
    for mount in MountTable.entries where mount.isMine && mount.mayHold(path) {
      let directory = FilePath(mount.mountPoint).appending(name)
      // The same name is not the same image: the mount says which file it is.
      guard let info = RunningMount.contents(of: directory.appending("control").appending("info")),
        info.split(separator: UInt8(ascii: "\n")).first?.elementsEqual("path \(escaped(path))".utf8) == true
      else { continue }
      self.point = mount.mountPoint
      self.isReadOnly = mount.isReadOnly
      self.directory = directory
      self.image = image
      return
    }
    return nil
  }

  /// The whole answer of `MOUNT/NAME/control/QUESTION`, or nil when no mount of this user's holds the image, or it does
  /// not answer.
  static func answer(about image: String, _ question: String) -> [UInt8]? {
    guard let mount = RunningMount(holding: image) else { return nil }
    return contents(of: mount.control.appending(question))
  }

  /// Copies an answer that may be long to the standard output; false when no mount holds the image.
  ///
  /// Errors: the mount's, with its sentence.
  static func copyAnswer(about image: String, _ question: String) throws(ImageError) -> Bool {
    guard let mount = RunningMount(holding: image) else { return false }
    try mount.copyAnswer(to: question)
    return true
  }

  /// Copies the answer to a question to the standard output.
  ///
  /// Errors: the mount's, with its sentence.
  func copyAnswer(to question: String) throws(ImageError) {
    let file: FileDescriptor
    do { file = try FileDescriptor.open(control.appending(question), .readOnly) } catch {
      throw refusal(error)
    }
    defer { try? file.close() }
    while true {
      let piece: [UInt8]?
      do { piece = try RunningMount.read(file) } catch { throw refusal(error) }
      guard let piece else { return }
      try StandardOutput.write(piece)
    }
  }

  /// What a command that would change the image is answered with, while a mount shows it.
  ///
  /// - Parameter instead: what to do there, where anything can be done: not in a read-only mount.
  func refusalOfChange(instead: String) -> ImageError {
    if isReadOnly {
      return ImageError(
        .inUse,
        "\(escaped(image)): is mounted read-only at \(escaped(point)), and is not changed meanwhile; unmount it first"
      )
    }
    return ImageError(
      .inUse,
      "\(escaped(image)): is mounted at \(escaped(point)), which knows of changes that are in no file yet; \(instead)"
    )
  }

  /// What the mount says of a failure.
  private func refusal(_ error: any Error) -> ImageError {
    let cause = error as? Errno ?? .ioError
    let said = RunningMount.contents(of: control.appending("error")).map {
      String(decoding: $0.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }
    let sentence = said ?? "\(escaped(image)): the mount that holds it did not answer: \(cause.description)"
    return ImageError(RunningMount.returnValue(cause), errno: cause, sentence)
  }

  /// The return value that a control file's errno stands for (docs/control-files.md).
  private static func returnValue(_ errno: Errno) -> ReturnValue {
    switch errno {
    case Errno(rawValue: ENXIO): .objectNotFound
    case Errno(rawValue: ESTALE): .invalidState
    case .fileExists: .invalidParameter
    default: ReturnValue(errno: errno)
    }
  }

  static func contents(of path: FilePath) -> [UInt8]? {
    guard let file = try? FileDescriptor.open(path, .readOnly) else { return nil }
    defer { try? file.close() }
    var contents: [UInt8] = []
    do {
      while let piece = try read(file) { contents += piece }
    } catch {
      return nil
    }
    return contents.isEmpty ? nil : contents
  }

  /// The next bytes of the file, nil at its end.
  private static func read(_ file: FileDescriptor) throws -> [UInt8]? {
    let piece = try [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
      count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
    }
    return piece.isEmpty ? nil : piece
  }
}
