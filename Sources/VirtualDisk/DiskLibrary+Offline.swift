import Glibc
import Storage

/// Chains that an operation has to itself.
extension DiskLibrary {
  /// Milliseconds: a file that was closed just now is released a moment later.
  private static let longestWait = 2000

  /// Opens the chain of an image that nobody uses, and keeps everybody from using it. Waits.
  ///
  /// - Parameter operation: what others are told who want the image meanwhile: `job 7 (compact)`.
  ///
  /// Errors: `.inUse` with who holds it, after 2 s; what is wrong with the file or its chain; a read-only library or file.
  public func takeOffline(_ name: String, for operation: String) throws(ImageError) -> OfflineChain {
    guard !isReadOnly else {
      throw ImageError(
        .invalidState, errno: .readOnlyFileSystem,
        "\(escaped(name)): cannot be changed: everything here is read-only")
    }
    for _ in 0..<(DiskLibrary.longestWait / 20) {
      if let chain = try tryTakingOffline(name, operation, isLast: false) { return chain }
      usleep(20_000)
    }
    if let chain = try tryTakingOffline(name, operation, isLast: true) { return chain }
    throw ImageError(.inUse, "\(escaped(name)): is in use")
  }

  /// Nil when it is in use, as long as that may end by itself.
  private func tryTakingOffline(_ name: String, _ operation: String, isLast: Bool) throws(ImageError)
    -> OfflineChain?
  {
    try opening.withLock { (_) throws(ImageError) -> OfflineChain? in
      let reference = try reference(named: name)
      guard let stamp = reference.stamp else { throw HostFile.openingError(reference.path, ENOENT) }
      try failIfReserved(reference, stamp.identity)
      if let users = users(of: stamp.identity) {
        if !isLast { return nil }
        throw ImageError(.inUse, "\(escaped(reference.path)): is online: \(users); close it first")
      }
      let file = try reference.open(writable: true)
      try lock(file, .writer)
      let leaf = SharedImage(reference, try Layer(file))
      var images: [SharedImage] = []
      try ChainBuilder(
        search: search,
        openParent: { (parent) throws(ImageError) -> SharedImage in
          try self.openParent(parent, of: leaf, mayRewrite: true)
        },
        warn: warn
      ).build(leaf, found: &images)
      for sentence in images.flatMap(\.layer.warnings) { warn(sentence) }
      open.withLock { open in
        for image in images { open.images[image.file.identity, default: (image, 0)].chains += 1 }
        open.reserved[stamp.identity] = operation
      }
      return OfflineChain(images, self, operation: operation)
    }
  }

  /// What holds a file open in this library; nil: nothing.
  func users(of identity: FileIdentity) -> String? {
    open.withLock { open in
      guard open.images[identity] != nil else { return nil }
      let names = open.disks.values.filter { $0.disk.images.contains { $0.file.identity == identity } }
        .map { escaped($0.leaf.reference.name) }.sorted()
      guard !names.isEmpty else { return "an operation on a child of it is running" }
      return "\(names.joined(separator: ", ")) \(names.count == 1 ? "is" : "are") open"
    }
  }

  /// Errors: `.inUse` when an operation has the file to itself.
  func failIfReserved(_ reference: ImageReference, _ identity: FileIdentity) throws(ImageError) {
    guard let operation = open.withLock({ $0.reserved[identity] }) else { return }
    throw ImageError(
      .inUse,
      "\(escaped(reference.path)): is busy: \(escaped(operation)) is running; wait for its end, or cancel it")
  }

  /// See `OfflineChain.rewrite`.
  func keepForSelf(_ image: SharedImage, operation: String) throws(ImageError) {
    let identity = image.file.identity
    try opening.withLock { (_) throws(ImageError) in
      let (chains, reserved) = open.withLock { ($0.images[identity]?.chains ?? 0, $0.reserved[identity]) }
      if reserved == operation { return }
      guard chains <= 1, reserved == nil else {
        throw ImageError(
          .inUse,
          "\(escaped(image.reference.path)): is in use by other disks of this chain's tree; close them first")
      }
      try lock(image.file, .writer)
      open.withLock { $0.reserved[identity] = operation }
    }
  }

  func disk(of images: [SharedImage]) -> VirtualDisk {
    let maintenance = maintenance
    return VirtualDisk(
      images, leaf: images[0], tracking: record(of: images[0], isSoleWriter: false),
      wake: { maintenance.wake() })
  }

  /// The record of the changes of an image on which an operation works. A change that cannot be recorded fails then, before it
  /// is made, whatever the library's own option is: an operation can be run again, and points that end cannot be had back.
  ///
  /// - Parameter isSoleWriter: `TrackingOptions.isSoleWriter` for this image, whatever the library's own is.
  func record(of image: SharedImage, isSoleWriter: Bool) -> DiskTracking {
    var options = tracking
    options.isStrict = true
    if isSoleWriter { options.isSoleWriter = true }
    return DiskTracking(.beside(image.reference), options, warn: warn)
  }

  func release(_ chain: OfflineChain, rewritten: Set<Int>) {
    opening.withLock { _ in
      open.withLock { open in
        for (depth, image) in chain.images.enumerated() {
          let identity = image.file.identity
          if rewritten.contains(depth) {
            open.reserved[identity] = nil
            image.file.unlockToReader()
          }
          open.images[identity]?.chains -= 1
          guard open.images[identity]?.chains == 0 else { continue }
          open.images[identity] = nil
          image.file.unlock()
        }
      }
    }
  }
}
