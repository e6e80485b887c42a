import CFuse
import Storage
import VirtualDisk

/// What is shown follows what is there.
extension Server {
  /// Looks at every SOURCE again, and tells the kernel what it must not believe any longer. Waits. Not for a thread that
  /// answers requests: the kernel may hold a lock, while it takes such a notice, for which it waits for an answer.
  func lookAtSources() {
    // One after the other: an older look must not take back what a newer one has seen.
    sourcesLook.withLock { _ in
      let images = library.scan()
      jobs.noteFiles(of: images)
      tell(tree.update(images, keeping: { jobs.hasJob(ofGone: $0.identity, named: $0.name) }))
    }
  }

  private func tell(_ change: Tree.Change) {
    guard let session = connection.session else { return }
    for name in change.vanished {
      log.info("\(escaped(name)): has gone")
      forget(session, NodeNumber.root, name)
    }
    for image in change.appeared { log.info("\(escaped(image.name)): has appeared") }
    for image in change.changedState {
      log.info("\(escaped(image.name)): \(image.isBroken ? "can no longer be read" : "can be read now")")
      let directory = NodeNumber(image: image.serial, .image)
      for name in ["disk", "partitions"] { forget(session, directory, name) }
    }
  }

  /// The kernel answers ENOENT where it knew no such name: nothing to do.
  private func forget(_ session: OpaquePointer, _ directory: NodeNumber, _ name: String) {
    _ = fuse_lowlevel_notify_inval_entry(session, directory.rawValue, name, name.utf8.count)
  }
}
