import Glibc
import LinuxSystem
import Storage
import SystemPackage

/// What a merge does with the files of a chain.
extension OfflineChain {
  /// A merge of the leaf into the file at `depth`. What stands between was taken by `rewrite`.
  ///
  /// - Parameter isSoleWriter: nobody else wrote these files: VHDs that were not closed are believed to be as they were left.
  package func merge(into depth: Int, isSoleWriter: Bool = false) -> ChainMerge {
    ChainMerge(
      images, into: depth,
      trackings: (0...depth).map { library.record(of: images[$0], isSoleWriter: isSoleWriter) })
  }

  /// The leaf is differencing.
  package var hasParent: Bool { images[0].layer.isDifferencing }

  /// Whether the folder of a file of the chain allows its removal, as far as that can be known before. Changes nothing.
  ///
  /// Errors: `.accessDenied`; EROFS.
  package func checkRemovable(at depth: Int) throws(ImageError) {
    let reference = images[depth].reference
    try reference.directory.checkRemovable(reference.name)
  }

  /// Removes a file of the chain, and the record of its changes first: one without its image is of no use, and would be
  /// taken for another's of that name. Durable when it returns.
  package func remove(at depth: Int) throws(ImageError) {
    let reference = images[depth].reference
    guard reference.stamp?.identity == images[depth].file.identity else {
      throw ImageError(
        .invalidState, "\(escaped(reference.path)): is another file by now, and is not removed")
    }
    try reference.directory.remove(TrackingFile.name(for: reference.name), mayBeMissing: true)
    try reference.directory.remove(reference.name, mayBeMissing: false)
  }
}

extension ImageDirectory {
  /// Removes a file beneath this directory, durably.
  fileprivate func remove(_ name: String, mayBeMissing: Bool) throws(ImageError) {
    try withFolder(of: name) { (folder, last) throws(ImageError) in
      guard unlinkat(folder, last, 0) == 0 else {
        if errno == ENOENT, mayBeMissing { return }
        throw removalError(name, errno)
      }
      while fsync(folder) != 0 {
        if errno != EINTR { throw removalError(name, errno) }
      }
    }
  }

  fileprivate func checkRemovable(_ name: String) throws(ImageError) {
    try withFolder(of: name) { (folder, _) throws(ImageError) in
      guard faccessat(folder, ".", W_OK | X_OK, AT_EACCESS) != 0 else { return }
      throw removalError(name, errno)
    }
  }

  /// By the folder's own descriptor, because unlinkat follows links in the middle of a path.
  private func withFolder(
    of name: String, _ body: (Int32, String) throws(ImageError) -> Void
  ) throws(ImageError) {
    guard let slash = name.lastIndex(of: "/") else { return try body(descriptor, name) }
    let folder = linux_open_beneath(descriptor, String(name[..<slash]), O_RDONLY | O_DIRECTORY)
    guard folder >= 0 else { throw removalError(name, errno) }
    defer { Glibc.close(folder) }
    try body(folder, String(name[name.index(after: slash)...]))
  }

  private func removalError(_ name: String, _ code: Int32) -> ImageError {
    let cause = Errno(rawValue: code)
    return ImageError(
      errno: cause, "\(escaped(absolutePath(name))): cannot be removed: \(cause.description)")
  }
}
