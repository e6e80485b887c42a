import Storage
import VirtualDisk

/// An operation on one image, which may take minutes: what a job runs, and what a command does with an image that no
/// mount shows.
///
/// `init` checks, `run` works, `close` gives everything back; whoever runs it calls them in this order, on one thread that
/// is nobody else's, and `close` also where `run` failed or was never called. Only after `close` has returned is anybody
/// told that the operation has ended: who hears of the end finds the image offline again.
///
/// A new operation is made known by a line in `Operations.all`; its control file, its job and its words in `--help` follow.
public protocol Operation: Sendable {
  /// The name of the control file, and what a job calls it: `compact`.
  static var word: String { get }

  static var jobType: JobType { get }

  /// Checks everything that can be checked before work begins, and takes the image offline: words, modes, the chain.
  /// Changes no byte.
  ///
  /// Its error is the answer to who asked, and no job is made. May take the 2 s in which a file that was closed just now is
  /// released; not more, and no work that grows with the disk.
  init(_ request: OperationRequest) throws(ImageError)

  /// The two files of which one is the other's parent and which the operation is about; told when it fails.
  var link: OperationLink? { get }

  /// Does it, and returns what came of it, in documented keys: sizes before and after, say.
  ///
  /// Says the bytes to do (`progress.expect`) before the first is done, and each MiB or so that it is done; asks at least
  /// four times a second, at places where ending leaves everything valid, whether it is to end
  /// (`progress.failIfCancelled`). It does not call `finish`.
  func run(_ progress: OperationProgress) throws(ImageError) -> [ReportField]

  /// Gives back what `init` took. A second call does nothing.
  func close()
}

extension Operation {
  public var link: OperationLink? { nil }
}

/// What is asked for.
public struct OperationRequest: Sendable {
  /// Whose the rights are, and what a path in the words is relative to.
  public enum Origin: Sendable {
    /// A line that was written to a control file: paths are relative to the image's directory, and reach only what the
    /// library may open.
    case controlFile
    /// A command's arguments: paths are the user's, relative to the current directory.
    case command
  }

  /// What is left for the operation: `async` and `wait=` are taken by who runs it.
  public var words: OperationWords
  /// The image's name in the library.
  public let image: String
  public let library: DiskLibrary
  public let origin: Origin
  /// What others are told who want the image meanwhile (`DiskLibrary.takeOffline`): `job 7 (compact)`.
  public let holder: String

  public init(
    words: OperationWords, image: String, library: DiskLibrary, origin: Origin, holder: String
  ) {
    self.words = words
    self.image = image
    self.library = library
    self.origin = origin
    self.holder = holder
  }
}

/// Two files of a chain, by their paths.
public struct OperationLink: Hashable, Sendable {
  public let child: String
  public let parent: String
  public init(child: String, parent: String) {
    self.child = child
    self.parent = parent
  }
}

/// The operations that there are.
public enum Operations {
  /// In the order in which control directories list them. A place in this list is a part of inode numbers while a mount
  /// lasts, and of nothing else.
  public static let all: [any Operation.Type] = [Compaction.self, Merge.self]
}
