import Glibc
import MountedView
import SystemPackage

/// Which running mounts may be asked about an image.
extension MountEntry {
  /// A mount of this program's that this user made; nobody else's server is asked anything.
  var isMine: Bool { isOurs && options.contains("user_id=\(geteuid())") }

  /// Whether the mount can hold the image at `path`: told from its SOURCE, so that no mount is touched (and kept from
  /// being unmounted at that moment) for nothing.
  func mayHold(_ path: String) -> Bool {
    guard source.hasPrefix("/") else { return true }
    let identities = [path, FilePath(path).removingLastComponent().string].compactMap(MountEntry.identity)
    return MountEntry.identity(source).map(identities.contains) ?? false
  }

  private static func identity(_ path: String) -> [UInt64]? {
    var status = stat()
    return stat(path, &status) == 0 ? [UInt64(status.st_dev), UInt64(status.st_ino)] : nil
  }
}
