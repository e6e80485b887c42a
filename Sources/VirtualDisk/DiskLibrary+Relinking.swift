import Glibc
import Storage
import Synchronization

/// A child that an operation has to itself, to give it another parent. Others may not use it until `close`.
package final class TakenChild: Sendable {
  let image: SharedImage
  private let tracking: DiskTracking
  private let library: DiskLibrary
  private let isClosed = Atomic<Bool>(false)

  init(_ image: SharedImage, _ library: DiskLibrary, isSoleWriter: Bool) {
    self.image = image
    self.library = library
    tracking = library.record(of: image, isSoleWriter: isSoleWriter)
  }

  package var path: String { image.reference.path }

  /// Lets the child say that the file that `merge` has made is its parent, durably. What the child shows stays the same.
  ///
  /// - Parameters:
  ///   - relativePath: from the child's directory, with backslashes.
  ///   - absolutePath: on this host, with slashes.
  package func relink(
    to merge: ChainMerge, relativePath: String, absolutePath: String
  ) throws(ImageError) {
    try image.layer.replaceParent(
      merge.destination, relativePath: relativePath, absolutePath: absolutePath, tracking)
  }

  /// Whether the child has room for what `relink` writes. Changes nothing. Waits.
  ///
  /// Errors: `.notSupported` when it has not, and for files of two formats.
  package func checkRelinking(
    to merge: ChainMerge, relativePath: String, absolutePath: String
  ) throws(ImageError) {
    try image.layer.checkParent(
      merge.destination, relativePath: relativePath, absolutePath: absolutePath)
  }

  package func close() {
    guard !isClosed.exchange(true, ordering: .sequentiallyConsistent) else { return }
    library.open.withLock { $0.reserved[image.file.identity] = nil }
    image.file.unlock()
  }

  deinit { close() }
}

extension OfflineChain {
  /// Takes every known child of the leaf, to give it another parent. Waits.
  ///
  /// - Parameter isSoleWriter: as for `merge(into:isSoleWriter:)`.
  ///
  /// Errors: `.inUse` for one that somebody uses; one that may only be read, or has a name that is no text.
  package func takeChildrenOfLeaf(isSoleWriter: Bool = false) throws(ImageError) -> [TakenChild] {
    var taken: [TakenChild] = []
    for reference in try referencesOfChildren() {
      taken.append(try library.take(reference, for: operation, isSoleWriter: isSoleWriter))
    }
    return taken
  }
}

extension DiskLibrary {
  fileprivate func take(
    _ reference: ImageReference, for operation: String, isSoleWriter: Bool
  ) throws(ImageError) -> TakenChild {
    try opening.withLock { (_) throws(ImageError) -> TakenChild in
      guard let stamp = reference.stamp else { throw HostFile.openingError(reference.path, ENOENT) }
      try failIfReserved(reference, stamp.identity)
      if let users = users(of: stamp.identity) {
        throw ImageError(.inUse, "\(escaped(reference.path)): is online: \(users); close it first")
      }
      let file = try reference.open(writable: true)
      try lock(file, .writer)
      let image = SharedImage(reference, try Layer(file))
      open.withLock { $0.reserved[stamp.identity] = operation }
      return TakenChild(image, self, isSoleWriter: isSoleWriter)
    }
  }
}
