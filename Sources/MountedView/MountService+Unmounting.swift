import Storage

extension MountService {
  /// Unmounts and waits for the end of the process that serves the mount.
  ///
  /// Errors: in use, with those who use it; what that process could not write; its death.
  public static func unmount(_ path: String, lazily: Bool = false) throws(ImageError) {
    try Unmounting.unmount(path, lazily: lazily)
  }
}
