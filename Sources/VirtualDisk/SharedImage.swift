import Storage

/// A file that is open in a library, however many chains it stands in.
final class SharedImage: Sendable {
  let reference: ImageReference
  let layer: Layer
  var file: HostFile { layer.file }

  init(_ reference: ImageReference, _ layer: Layer) {
    self.reference = reference
    self.layer = layer
  }

  /// Opens for reading, locks as a reader, and reads what the file is. As the root of a XenServer chain a file that is
  /// no VHD is taken as it is.
  ///
  /// - Parameter mayRewrite: opened for writing where that is possible, for an operation that may change it.
  static func parent(
    _ reference: ImageReference, acceptsRaw: Bool, locks: Bool, mayRewrite: Bool = false,
    warn: (String) -> Void
  ) throws(ImageError) -> SharedImage {
    let file: HostFile
    if mayRewrite, let writable = try? reference.open(writable: true) {
      file = writable
    } else {
      file = try reference.open(writable: false)
    }
    if locks, try file.lock(.reader) == .unsupported { warn(noLocks(file)) }
    do throws(ImageError) {
      return SharedImage(reference, try Layer(file))
    } catch {
      guard acceptsRaw else { throw error }
      return SharedImage(reference, .raw(file, size: try file.size()))
    }
  }

  static func noLocks(_ file: HostFile) -> String {
    "\(escaped(file.path)): its file system has no locks, so another program's use of it cannot be noticed"
  }
}
