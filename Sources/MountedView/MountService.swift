import Glibc
import ImageManagement
import LinuxSystem
import Logging
import Storage
import Synchronization
import SystemPackage
import VirtualDisk

/// Makes mounts and serves them.
public enum MountService {
  /// Mounts and serves in this process; returns when the mount has ended and everything is written.
  ///
  /// - Parameter whenReady: called once, when the mount answers requests.
  ///
  /// Errors: what keeps the mount from being made; after that, what could not be written at the end.
  public static func serve(
    _ options: MountOptions, log: Logger, whenReady: @escaping @Sendable () -> Void = {}
  ) throws(ImageError) {
    try serve(options, log: log, operations: Operations.all, whenReady: whenReady)
  }

  /// - Parameter operations: what the operation files begin, in the order of `Operations.all`; tests have their own.
  static func serve(
    _ options: MountOptions, log: Logger, operations: [any Operation.Type],
    whenReady: @escaping @Sendable () -> Void = {}
  ) throws(ImageError) {
    StopSignals.blockInThisThread()
    // A chain takes a descriptor for each of its files, and a mount may have many chains. Nothing here is bound to
    // small descriptors; where more are not to be had, opens fail with EMFILE.
    _ = linux_raise_descriptor_limit()
    try MountPoint.prepare(options)
    let library = try DiskLibrary(
      sources: options.sources, parentDirectories: options.parentDirectories, isReadOnly: options.isReadOnly,
      tracking: options.tracking, warn: Warnings(log).take)
    let server = Server(options: options, library: library, log: log, operations: operations)
    let images = library.scan()
    if let hidden = images.first(where: { !Tree.canBeShown($0.name) }) {
      throw ImageError(
        .invalidParameter,
        "\(escaped(hidden.path)): cannot be shown, because a mount has a file of its own of that name; rename it"
      )
    }
    _ = server.tree.update(images)
    try server.beginWorkers()
    do throws(ImageError) {
      try server.connection.mount(
        at: options.mountPoint, sourceName: options.sources.count == 1 ? options.sources[0] : "vhdfs",
        readOnly: options.isReadOnly, allowOther: options.allowsOthers, operations: FuseOperations.table(),
        server: server)
    } catch {
      server.finishWorkers()
      throw error
    }
    log.info("\(escaped(options.mountPoint)): mounted")

    let stop = Stop(server: server)
    let watcher = SourceWatcher(server: server)
    let farewell = Farewell(log: log)
    server.onLastFileClosed { stop.lastFileClosed() }
    stop.begin()
    watcher.begin()
    farewell.begin()
    server.serve(whenReady: whenReady, until: { stop.hasEnded })

    // Unmounted, cut off, or stopped: in each case nobody asks any more, and what was written is brought
    // home.
    stop.finish()
    server.finishWorkers()
    watcher.finish()
    var failure: ImageError?
    do throws(ImageError) {
      try library.close()
    } catch {
      failure = error
      log.error("\(error.description)")
    }
    failure = server.loss ?? failure
    server.connection.destroy()
    farewell.tell(failure)
    log.info("\(escaped(options.mountPoint)): ended\(failure == nil ? ", everything is written" : "")")
    if let failure { throw failure }
  }
}

/// Passes each warning on once: the library tells of the same doubt at each look at the directories.
private final class Warnings: Sendable {
  private let log: Logger
  private let told = Mutex<Set<String>>([])

  init(_ log: Logger) { self.log = log }

  @Sendable func take(_ sentence: String) {
    let isNew = told.withLock { told in
      // Bounded: names of files come and go for as long as a mount lasts.
      if told.count >= 4096 { told = [] }
      return told.insert(sentence).inserted
    }
    if isNew { log.warning("\(sentence)") }
  }
}
