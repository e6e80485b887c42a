import ChangeTracking
import Storage
import Synchronization
import SystemPackage

/// Where the tracking file of an image is.
enum TrackingFile: Sendable {
  /// Beside the image, with `.tracking` added to its name.
  case beside(ImageReference)
  /// One that is open already: for tests.
  case given(HostFile)
  /// Likewise; another takes its place in one step.
  case slot(TrackingSlot)
  /// Nowhere: changes are not tracked.
  case none

  static func name(for image: String) -> String { image + ".tracking" }

  var path: String? {
    switch self {
    case .beside(let image): image.directory.absolutePath(TrackingFile.name(for: image.name))
    case .given(let file): file.path
    case .slot(let slot): slot.file.path
    case .none: nil
    }
  }

  /// Nil when there is none. For reading only where the image, or the file's own permissions, allow no more.
  ///
  /// Errors: a file that is there and cannot be opened.
  func open(writable: Bool) throws(ImageError) -> HostFile? {
    switch self {
    case .none: return nil
    case .given(let file): return try file.size() == 0 ? nil : file
    case .slot(let slot): return try slot.file.size() == 0 ? nil : slot.file
    case .beside(let image):
      let name = TrackingFile.name(for: image.name)
      do throws(ImageError) {
        return try image.directory.open(name, writable: writable)
      } catch {
        if error.errno == .noSuchFileOrDirectory { return nil }
        let refusals: [Errno] = [.permissionDenied, .notPermitted, .readOnlyFileSystem]
        guard writable, refusals.contains(error.errno) else { throw error }
        return try image.directory.open(name, writable: false)
      }
    }
  }

  /// Makes a new one in the place of whatever is there.
  func replace(
    like model: HostFile, _ fill: (HostFile) throws(ImageError) -> Void
  ) throws(ImageError) -> HostFile {
    switch self {
    case .beside(let image):
      return try image.directory.replace(TrackingFile.name(for: image.name), like: model, fill)
    case .given(let file):
      try file.resize(to: 0)
      try fill(file)
      return file
    case .slot(let slot): return try slot.replace(fill)
    case .none: throw ImageError(.notSupported, "this disk has no place for a tracking file")
    }
  }
}

/// A tracking file without a name, for tests: a new one takes its place when it is whole.
package final class TrackingSlot: Sendable {
  private let current: Mutex<HostFile>
  private let make: @Sendable () -> HostFile

  /// - Parameters:
  ///   - file: the one that is there; an empty one is none.
  ///   - make: gives an empty file.
  package init(_ file: HostFile, make: @escaping @Sendable () -> HostFile) {
    current = Mutex(file)
    self.make = make
  }

  package var file: HostFile { current.withLock { $0 } }

  func replace(_ fill: (HostFile) throws(ImageError) -> Void) throws(ImageError) -> HostFile {
    let file = make()
    try fill(file)
    current.withLock { $0 = file }
    return file
  }
}
