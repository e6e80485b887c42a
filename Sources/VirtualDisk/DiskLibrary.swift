import Storage

/// What somebody wants of a disk.
public enum DiskAccess: Sendable {
  case read, write
}

/// The images that a mount or a command works on, and the directories in which their parents may be found.
///
/// One library opens each file once, whatever names it has and in however many chains it stands, and holds its locks.
/// All methods may be called from any thread; those that say so wait for the medium.
public final class DiskLibrary: Sendable {
  /// - Parameters:
  ///   - sources: image files, and directories whose images are all offered (not recursively).
  ///   - parentDirectories: where parents may be found besides.
  ///   - isReadOnly: no byte of any file is changed, whatever is asked for.
  ///   - warn: takes sentences for the log: doubtful but usable things.
  public init(
    sources: [String], parentDirectories: [String] = [], isReadOnly: Bool = false,
    warn: @escaping @Sendable (String) -> Void = { _ in }
  ) throws(ImageError) {
  }

  /// Looks at every SOURCE again and returns what is there, by name in ascending order. Waits.
  ///
  /// A file that cannot be understood stands there with its error. Two files of one name are the first's error.
  public func scan() -> [ImageEntry] { [] }

  /// One image by its name. Waits. `.fileNotFound` when there is none.
  public func entry(named name: String) throws(ImageError) -> ImageEntry {
    throw ImageError(.fileNotFound, "\(escaped(name)): no such image")
  }

  /// Opens the whole chain of an image, or joins those who have it open. Waits.
  ///
  /// Errors: what is wrong with the file, or with the chain; `.inUse` with the holder's name; EROFS for `.write` on a
  /// parent of a known child or in a read-only library, with the reason.
  public func open(_ name: String, access: DiskAccess) throws(ImageError) -> DiskHandle {
    throw ImageError(.fileNotFound, "\(escaped(name)): no such image")
  }

  /// The files of an image's chain, leaf first, each with what is known of it; the last has the error if the chain
  /// cannot be followed to its root. Waits.
  public func chain(of name: String) throws(ImageError) -> [ChainLink] { [] }

  /// Commits and closes everything. Waits.
  public func close() throws(ImageError) {}
}

/// One image that a library offers.
public struct ImageEntry: Sendable {
  /// The file's name, without directories.
  public let name: String
  /// The file's absolute path.
  public let path: String
  public let identity: FileIdentity
  /// What the image says of itself, or why it cannot be read.
  public let facts: Result<ImageFacts, ImageError>
  /// Why it cannot be written, if so: a known child's name, a read-only file, an error before.
  public let readOnlyReason: String?
  /// A raw file of it, or of a descendant of it, is open through this library.
  public let isOnline: Bool

  public init(
    name: String, path: String, identity: FileIdentity, facts: Result<ImageFacts, ImageError>,
    readOnlyReason: String?, isOnline: Bool
  ) {
    self.name = name
    self.path = path
    self.identity = identity
    self.facts = facts
    self.readOnlyReason = readOnlyReason
    self.isOnline = isOnline
  }
}

/// One file of a chain.
public struct ChainLink: Sendable {
  /// The path at which it was found; for the link that is missing, the path that was recorded.
  public let path: String
  public let facts: Result<ImageFacts, ImageError>
  public init(path: String, facts: Result<ImageFacts, ImageError>) {
    self.path = path
    self.facts = facts
  }
}

/// One user's hold on a disk: as long as one exists, the image is online.
public final class DiskHandle: Sendable {
  public let disk: VirtualDisk
  public let access: DiskAccess

  init(disk: VirtualDisk, access: DiskAccess) {
    self.disk = disk
    self.access = access
  }

  /// Ends the hold; the last writing one's end completes the clean close, the last one's closes the files and gives
  /// up the locks. Waits. May be called once; an error is about what could not be written.
  public func close() throws(ImageError) {}
}
