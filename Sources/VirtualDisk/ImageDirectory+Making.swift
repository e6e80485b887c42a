import Glibc
import Storage
import SystemPackage

extension ImageDirectory {
  /// Makes a file beneath this directory, in the place of the one that has the name, if any. It gets the name when it is
  /// whole and durable; until then the old one stays. Who may use `model` may use it too.
  ///
  /// - Parameter fill: writes the contents and leaves them durable.
  ///
  /// Errors: those of `fill`; the system's. Nothing is left half made then.
  func replace(
    _ name: String, like model: HostFile, _ fill: (HostFile) throws(ImageError) -> Void
  ) throws(ImageError) -> HostFile {
    let whole = absolutePath(name)
    // Always the same name: what a killed program left is used up by the next. The image's lock keeps others out.
    let hidden = ImageDirectory.hiddenName(for: name)
    unlinkat(descriptor, hidden, 0)
    let created = openat(
      descriptor, hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0o600)
    guard created >= 0 else { throw ImageDirectory.makingError(whole, errno) }
    do throws(ImageError) {
      let file = try HostFile.regular(path: whole, descriptor: created, writable: true)
      let access = try model.access()
      // A file that cannot be given away stays its maker's.
      _ = fchown(created, access.owner, access.group)
      _ = fchmod(created, access.mode & 0o666)
      try fill(file)
      guard renameat(descriptor, hidden, descriptor, name) == 0 else {
        throw ImageDirectory.makingError(whole, errno)
      }
      // The name must be as durable as the file.
      while fsync(descriptor) != 0 {
        if errno != EINTR { throw ImageDirectory.makingError(whole, errno) }
      }
      return file
    } catch {
      unlinkat(descriptor, hidden, 0)
      throw error
    }
  }

  /// A name of 250 bytes or more would be too long with what is added to it: a checksum of it (FNV-1a) stands for it then.
  static func hiddenName(for name: String) -> String {
    guard name.utf8.count + 5 > 255 else { return ".\(name).new" }
    let sum = name.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    return ".\(String(sum, radix: 16)).new"
  }

  private static func makingError(_ path: String, _ code: Int32) -> ImageError {
    let cause = Errno(rawValue: code)
    return ImageError(errno: cause, "\(escaped(path)): cannot be made: \(cause.description)")
  }
}
