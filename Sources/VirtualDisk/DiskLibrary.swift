import Storage
import Synchronization

/// What somebody wants of a disk.
public enum DiskAccess: Sendable {
  case read, write
}

/// The images that a mount or a command works on, and the directories in which their parents may be found.
///
/// One library opens each file once, whatever names it has and in however many chains it stands, and holds its locks.
/// All methods may be called from any thread; those that say so wait for the medium.
///
/// Lock order: `opening`, then `open`. `opening` is held while files are opened and closed, so that a file is never
/// opened twice; `open` only for looks into its tables.
public final class DiskLibrary: Sendable {
  enum Source: Sendable {
    case file(ImageReference)
    case directory(ImageDirectory)
  }

  let sources: [Source]
  let search: ParentSearch
  public let isReadOnly: Bool
  let tracking: TrackingOptions
  let warn: @Sendable (String) -> Void
  let inspector = Inspector()
  let kin = KinInspector()
  let maintenance = Maintenance()
  let opening = Mutex<Void>(())
  let open = Mutex(OpenFiles())

  /// - Parameters:
  ///   - sources: image files, and directories whose images are all offered (not recursively).
  ///   - parentDirectories: where parents may be found besides.
  ///   - isReadOnly: no byte of any file is changed, whatever is asked for.
  ///   - tracking: how changes are tracked.
  ///   - warn: takes sentences for the log: doubtful but usable things.
  ///
  /// Errors: a SOURCE or directory that cannot be opened; `.invalidParameter` for two images of one name.
  public init(
    sources: [String], parentDirectories: [String] = [], isReadOnly: Bool = false,
    tracking: TrackingOptions = .init(), warn: @escaping @Sendable (String) -> Void = { _ in }
  ) throws(ImageError) {
    var found: [Source] = []
    for source in sources { found.append(try Source(source)) }
    var directories: [ImageDirectory] = []
    for case .directory(let directory) in found { directories.append(directory) }
    for path in parentDirectories { directories.append(try ImageDirectory(path)) }
    self.sources = found
    search = ParentSearch(directories: directories)
    self.isReadOnly = isReadOnly
    self.tracking = tracking
    self.warn = warn
    var names: [ExactName: String] = [:]
    for reference in references() {
      if let other = names.updateValue(reference.path, forKey: ExactName(reference.name)),
        !other.isExactly(reference.path)
      {
        throw ImageError(
          .invalidParameter,
          "\(escaped(other)) and \(escaped(reference.path)) have the same name; mount them in two places")
      }
    }
  }

  /// The directories whose changes change what this library offers.
  public var watchedDirectories: [String] {
    var paths: Set<ExactName> = []
    for source in sources {
      switch source {
      case .directory(let directory): paths.insert(ExactName(directory.path))
      case .file(let reference): paths.insert(ExactName(reference.directory.path))
      }
    }
    return paths.map(\.text).sorted()
  }

  /// The name of the image that the only SOURCE is. A link leads to a file that may have another name than the link.
  ///
  /// Errors: `.invalidParameter` where that is a directory.
  public func onlyName() throws(ImageError) -> String {
    switch sources[0] {
    case .file(let reference): return reference.name
    case .directory(let directory):
      throw ImageError(.invalidParameter, "\(escaped(directory.path)): is a directory; name an image in it")
    }
  }

  /// Every file that the sources offer now; a file named twice counts once. Waits.
  func references() -> [ImageReference] {
    var result: [ImageReference] = []
    for source in sources {
      switch source {
      case .file(let reference): result.append(reference)
      case .directory(let directory):
        result += directory.imageNames().map { ImageReference(directory: directory, name: $0) }
      }
    }
    var paths: Set<ExactName> = []
    return result.filter { paths.insert(ExactName($0.path)).inserted }
  }

  func reference(named name: String) throws(ImageError) -> ImageReference {
    for source in sources {
      switch source {
      case .file(let reference) where reference.name.isExactly(name): return reference
      case .directory(let directory)
      where !name.utf8.contains(UInt8(ascii: "/")) && ImageDirectory.isImageName(name)
        && directory.status(of: name) != nil:
        return ImageReference(directory: directory, name: name)
      default: continue
      }
    }
    throw ImageError(.fileNotFound, "\(escaped(name)): there is no image of this name")
  }

  /// Commits and closes everything that is open still. Waits. Errors: the first; the rest is closed all the same.
  public func close() throws(ImageError) {
    maintenance.stop()
    let disks = open.withLock { Array($0.disks.values) }
    var first: ImageError?
    for disk in disks {
      do throws(ImageError) { try disk.disk.finishWriting() } catch { first = first ?? error }
    }
    if let first { throw first }
  }
}

extension DiskLibrary.Source {
  init(_ path: String) throws(ImageError) {
    if let directory = try? ImageDirectory(path) {
      self = .directory(directory)
      return
    }
    self = .file(try ImageReference(userPath: path))
  }
}
