import Glibc
import Storage
import Synchronization
import VHDX

/// A child that an operation has to itself, to give it another parent. Others may not use it until `close`.
package final class TakenChild: Sendable {
  private let image: SharedImage
  private let tracking: DiskTracking
  private let library: DiskLibrary
  private let isClosed = Atomic<Bool>(false)

  init(_ image: SharedImage, _ library: DiskLibrary) {
    self.image = image
    self.library = library
    tracking = library.disk(of: [image]).tracking
  }

  package var path: String { image.reference.path }

  /// Lets the child say that the file that `merge` has made is its parent, durably. What the child shows stays the same.
  ///
  /// - Parameters:
  ///   - relativePath: from the child's directory, with backslashes.
  ///   - absolutePath: as the format knows them.
  package func relink(
    to merge: ChainMerge, relativePath: String, absolutePath: String
  ) throws(ImageError) {
    guard case .vhdx(let own) = image.layer, case .vhdx(let parent) = merge.destination else {
      throw ImageError(.notSupported, "\(escaped(path)): only a VHDX can be given another parent here")
    }
    let locator = ParentLocator(
      linkage: parent.dataWriteGUID, relativePath: relativePath, absoluteWin32Path: absolutePath)
    try image.layer.replaceParentLocator(locator, own, tracking)
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
  /// Errors: `.inUse` for one that somebody uses; one that may only be read, or cannot be understood; `.notSupported` for a
  /// VHD, whose header has no copy and no log: a power cut in the middle of changing it would lose the disk.
  package func takeChildrenOfLeaf() throws(ImageError) -> [TakenChild] {
    var taken: [TakenChild] = []
    for reference in library.childReferences(of: images[0].file.identity) {
      guard case .vhdx = images[0].layer else {
        throw ImageError(
          .notSupported,
          "\(escaped(reference.path)): a VHD is not given another parent in its place; convert it to a new image, or merge "
            + "it as well")
      }
      taken.append(try library.take(reference, for: operation))
    }
    return taken
  }
}

extension DiskLibrary {
  fileprivate func take(_ reference: ImageReference, for operation: String) throws(ImageError) -> TakenChild {
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
      return TakenChild(image, self)
    }
  }
}
