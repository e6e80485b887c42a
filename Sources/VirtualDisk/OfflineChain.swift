import Storage
import Synchronization

/// A chain that an operation has to itself: its leaf, and by `rewrite` more of its files, are neither read nor written
/// by anybody else until `close`. The other files are held as those of any open chain: others may read them.
///
/// Made by `DiskLibrary.takeOffline`.
public final class OfflineChain: Sendable {
  /// Leaf first.
  let images: [SharedImage]
  let library: DiskLibrary
  /// Depths of the files that nobody else may use.
  private let rewritten = Mutex<Set<Int>>([0])
  private let isClosed = Atomic<Bool>(false)
  let operation: String

  init(_ images: [SharedImage], _ library: DiskLibrary, operation: String) {
    self.images = images
    self.library = library
    self.operation = operation
  }

  /// The paths of the chain's files, leaf first.
  public var paths: [String] { images.map(\.reference.path) }

  /// Where in the chain the file behind a path or a name is; 0 is the leaf. Nil: it is no file of the chain.
  public func depth(of identity: FileIdentity) -> Int? {
    images.firstIndex { $0.file.identity == identity }
  }

  /// Keeps everybody else from the file at `depth`, which is to be changed. Waits.
  ///
  /// Errors: `.inUse` when it is in use here or by another program; `.accessDenied` when it may only be read.
  public func rewrite(at depth: Int) throws(ImageError) {
    try library.keepForSelf(images[depth], operation: operation)
    rewritten.withLock { _ = $0.insert(depth) }
  }

  /// The disk that the file at `depth` shows, with the record of its changes. Only that of one that is rewritten may be
  /// written.
  package func disk(at depth: Int) -> VirtualDisk { library.disk(of: Array(images[depth...])) }

  /// Lets others use the files again. The disks were finished before. A second call does nothing.
  public func close() {
    guard !isClosed.exchange(true, ordering: .sequentiallyConsistent) else { return }
    library.release(self, rewritten: rewritten.withLock { $0 })
  }

  deinit { close() }
}
