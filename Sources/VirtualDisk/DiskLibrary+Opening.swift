import Glibc
import Storage
import Synchronization
import SystemPackage

extension DiskLibrary {
  /// Opens the whole chain of an image, or joins those who have it open. Waits.
  ///
  /// Errors: what is wrong with the file, or with the chain; `.inUse` with the holder's name; EROFS for `.write` on a
  /// parent of a known child or in a read-only library, with the reason.
  public func open(_ name: String, access: DiskAccess) throws(ImageError) -> DiskHandle {
    try opening.withLock { (_) throws(ImageError) -> DiskHandle in
      let reference = try reference(named: name)
      guard let stamp = reference.stamp else { throw HostFile.openingError(reference.path, ENOENT) }
      if access == .write, let reason = readOnlyReason(reference) {
        throw ImageError(
          .invalidState, errno: .readOnlyFileSystem,
          "\(escaped(reference.path)): cannot be written: \(reason)")
      }
      let identity = stamp.identity
      try failIfReserved(reference, identity)
      if let existing = open.withLock({ $0.disks[identity] }) {
        if access == .write, existing.writers == 0 { try lock(existing.leaf.file, .writer) }
        return handle(identity, existing.disk, access)
      }
      let leaf = try openLeaf(reference, access)
      var images: [SharedImage] = []
      try ChainBuilder(
        search: search,
        openParent: { (parent) throws(ImageError) -> SharedImage in try self.openParent(parent, of: leaf) },
        warn: warn
      ).build(leaf, found: &images)
      for sentence in images.flatMap(\.layer.warnings) { warn(sentence) }
      let disk = disk(of: images)
      open.withLock { open in
        for image in images {
          open.images[image.file.identity, default: (image, 0)].chains += 1
        }
        open.disks[identity] = OpenDisk(disk: disk, leaf: leaf)
      }
      return handle(identity, disk, access)
    }
  }

  private func handle(_ identity: FileIdentity, _ disk: VirtualDisk, _ access: DiskAccess) -> DiskHandle {
    open.withLock {
      if access == .write { $0.disks[identity]?.writers += 1 } else { $0.disks[identity]?.readers += 1 }
    }
    if access == .write {
      maintenance.watch(disk)
      if tracking.tracksAll { track(disk) }
    }
    return DiskHandle(disk: disk, access: access, library: self, identity: identity)
  }

  /// Switches tracking on where nothing was decided yet. That it cannot be is no reason not to write.
  private func track(_ disk: VirtualDisk) {
    do throws(ImageError) { try disk.tracking.change(.on, disk.leaf) } catch { warn(error.description) }
  }

  /// The leaf's file: opened for writing where that is possible, so that a writer can join later, but nothing is
  /// changed by that.
  private func openLeaf(_ reference: ImageReference, _ access: DiskAccess) throws(ImageError) -> SharedImage {
    if let stamp = reference.stamp, let shared = open.withLock({ $0.images[stamp.identity] }) {
      guard access == .read else {
        throw ImageError(
          .inUse, "\(escaped(reference.path)): is open as a parent; close its children's disks first")
      }
      return shared.image
    }
    let file = try openFile(reference, access)
    try lock(file, access == .write ? .writer : .reader)
    // What the file says counts only under the lock.
    return SharedImage(reference, try Layer(file))
  }

  private func openFile(_ reference: ImageReference, _ access: DiskAccess) throws(ImageError) -> HostFile {
    guard !isReadOnly else { return try reference.open(writable: false) }
    do throws(ImageError) {
      return try reference.open(writable: true)
    } catch {
      let refusals: [Errno] = [.permissionDenied, .notPermitted, .readOnlyFileSystem, .textFileBusy]
      guard access == .read, refusals.contains(error.errno) else { throw error }
      return try reference.open(writable: false)
    }
  }

  /// A parent's file, shared with every chain that it stands in.
  func openParent(
    _ reference: ImageReference, of leaf: SharedImage, mayRewrite: Bool = false
  ) throws(ImageError) -> SharedImage {
    guard let stamp = reference.stamp else { throw HostFile.openingError(reference.path, ENOENT) }
    try failIfReserved(reference, stamp.identity)
    if let shared = open.withLock({ $0.images[stamp.identity] }) {
      if let disk = open.withLock({ $0.disks[stamp.identity] }), disk.writers > 0 {
        throw ImageError(
          .inUse, "\(escaped(reference.path)): is being written here, so no child of it can be opened")
      }
      return shared.image
    }
    return try SharedImage.parent(
      reference, acceptsRaw: leaf.layer.recordedParent?.isRaw ?? false, locks: true, mayRewrite: mayRewrite,
      warn: warn)
  }

  func lock(_ file: HostFile, _ mode: ImageLock.Mode) throws(ImageError) {
    guard !(mode == .writer && !file.isWritable) else {
      if access(file.path, W_OK) != 0, errno == EROFS {
        throw ImageError(
          errno: .readOnlyFileSystem, "\(escaped(file.path)): cannot be changed: its file system is read-only"
        )
      }
      throw ImageError(.accessDenied, "\(escaped(file.path)): may only be read")
    }
    if try file.lock(mode) == .unsupported { warn(SharedImage.noLocks(file)) }
  }

  /// Ends one hold. Called by `DiskHandle.close` only.
  func release(_ identity: FileIdentity, _ access: DiskAccess) throws(ImageError) {
    // The long part first, without the lock: others can open their images meanwhile. What is written after this, by
    // somebody who joins, is finished below or when that one ends.
    // What goes wrong while finishing is told, but the files are closed all the same.
    var failure: ImageError?
    if access == .write, let entry = open.withLock({ $0.disks[identity] }), entry.writers == 1 {
      do throws(ImageError) { try entry.disk.finishWriting() } catch { failure = error }
    }
    try opening.withLock { (_) throws(ImageError) in
      guard
        let entry = open.withLock({ open -> OpenDisk? in
          if access == .write {
            open.disks[identity]?.writers -= 1
          } else {
            open.disks[identity]?.readers -= 1
          }
          return open.disks[identity]
        })
      else { return }
      if access == .write, entry.writers == 0 {
        do throws(ImageError) { try entry.disk.finishWriting() } catch { failure = failure ?? error }
        maintenance.forget(entry.disk)
        entry.leaf.file.unlockToReader()
      }
      if entry.readers == 0 && entry.writers == 0 {
        open.withLock { open in
          open.disks[identity] = nil
          for image in entry.disk.images {
            open.images[image.file.identity]?.chains -= 1
            if open.images[image.file.identity]?.chains == 0 {
              open.images[image.file.identity] = nil
              // Whoever closes may hold the disk a moment longer; the locks must not wait for that, or the next
              // opening would meet them.
              image.file.unlock()
            }
          }
        }
      }
      if let failure { throw failure }
    }
  }
}

/// One user's hold on a disk: as long as one exists, the image is online.
public final class DiskHandle: Sendable {
  public let disk: VirtualDisk
  public let access: DiskAccess
  private let library: DiskLibrary
  private let identity: FileIdentity
  private let isClosed = Atomic<Bool>(false)

  init(disk: VirtualDisk, access: DiskAccess, library: DiskLibrary, identity: FileIdentity) {
    self.disk = disk
    self.access = access
    self.library = library
    self.identity = identity
  }

  /// Whether somebody else holds the disk for writing as well.
  public var isLastWriter: Bool { library.open.withLock { ($0.disks[identity]?.writers ?? 0) <= 1 } }

  /// Ends the hold; the last writing one's end completes the clean close, the last one's closes the files and gives
  /// up the locks. Waits. A second call does nothing; an error is about what could not be written.
  public func close() throws(ImageError) {
    guard !isClosed.exchange(true, ordering: .sequentiallyConsistent) else { return }
    try library.release(identity, access)
  }
}
