import Glibc
import Storage
import SystemPackage

extension MountService {
  /// Unmounts, and waits for the end of the process that serves the mount.
  ///
  /// With `lazily` a mount that is in use is detached now, and its end is not waited for.
  /// Errors: no such mount; in use, with those who use it; what that process could not write; its death.
  public static func unmount(_ given: String, lazily: Bool = false) throws(ImageError) {
    var path = given
    if let resolved = realpath(given, nil) {
      path = String(cString: resolved)
      free(resolved)
    } else if errno != ENOTCONN {
      let cause = Errno(rawValue: errno)
      throw ImageError(errno: cause, "\(escaped(given)): cannot be unmounted: \(cause.description)")
    } else {
      var options = MountOptions(sources: [], mountPoint: given)
      options.makePathsAbsolute()
      path = options.mountPoint
    }
    guard let entry = MountTable.top(at: path), entry.isOurs else {
      throw ImageError(.invalidParameter, "\(escaped(path)): nothing of this program's is mounted there")
    }
    var fileSystem = statvfs()
    let isDead = statvfs(path, &fileSystem) != 0 && errno == ENOTCONN
    let server = isDead ? nil : ServerProcess(ofMount: path)
    do throws(ImageError) {
      try Unmounting.unmount(path)
    } catch {
      guard error.errno == .resourceBusy else { throw error }
      let users = MountUsers.of(path)
      if lazily {
        try Unmounting.unmount(path, lazily: true)
        return
      }
      let who = users.isEmpty ? "somebody" : users.joined(separator: "; ")
      throw ImageError(.inUse, "\(escaped(path)): cannot be unmounted, because it is in use by \(who)")
    }
    if isDead {
      throw ImageError(
        .failed,
        "\(escaped(path)): is unmounted, but the process that served it had died; "
          + "what was not flushed before is lost"
      )
    }
    guard let server else {
      throw ImageError(
        .unknown,
        "\(escaped(path)): is unmounted, but who served it could not be learned, nor whether all was written")
    }
    try server.waitForEnd(ofMount: path)
  }
}
