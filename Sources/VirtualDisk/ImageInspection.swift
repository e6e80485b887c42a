import Storage
import Synchronization

/// What a file said of itself when it was last looked at; valid as long as its stamp is the same.
struct Inspection: Sendable {
  var stamp: FileStamp
  var facts: Result<ImageFacts, ImageError>
  var recordedParent: RecordedParent?
  var identifierForChildren: GUID?
}

/// Looks at files without keeping them open, and remembers what was seen.
final class Inspector: Sendable {
  /// Beyond so many files the oldest knowledge is dropped.
  private static let limit = 20_000
  private let known = Mutex<[ExactName: Inspection]>([:])

  /// Looks at a file again if it changed since; `live` is the image if it is open, whose word is newer than the file's.
  func inspect(_ reference: ImageReference, live: SharedImage?) -> Inspection? {
    guard let stamp = reference.stamp else { return nil }
    let name = ExactName(reference.path)
    if let live { return Inspector.inspection(stamp, live.layer) }
    if let old = known.withLock({ $0[name] }), old.stamp == stamp { return old }
    let new: Inspection
    do throws(ImageError) {
      new = Inspector.inspection(stamp, try Layer(try reference.open(writable: false)))
    } catch {
      new = Inspection(stamp: stamp, facts: .failure(error))
    }
    known.withLock {
      if $0.count >= Inspector.limit { $0.removeAll() }
      $0[name] = new
    }
    return new
  }

  private static func inspection(_ stamp: FileStamp, _ layer: Layer) -> Inspection {
    Inspection(
      stamp: stamp, facts: Result { () throws(ImageError) in try layer.facts() },
      recordedParent: layer.recordedParent,
      identifierForChildren: layer.identifierForChildren)
  }
}
