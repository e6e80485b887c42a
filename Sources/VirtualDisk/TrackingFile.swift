import ChangeTracking
import Storage
import SystemPackage

/// Where the tracking file of an image is.
enum TrackingFile: Sendable {
  /// Beside the image, with `.tracking` added to its name.
  case beside(ImageReference)
  /// One that is open already: for tests.
  case given(HostFile)
  /// Nowhere: changes are not tracked.
  case none

  static func name(for image: String) -> String { image + ".tracking" }

  var path: String? {
    switch self {
    case .beside(let image): image.directory.absolutePath(TrackingFile.name(for: image.name))
    case .given(let file): file.path
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
    case .none: throw ImageError(.notSupported, "this disk has no place for a tracking file")
    }
  }
}
