import CFuse
import ChangeTracking
import Glibc
import ImageManagement
import Storage
import SystemPackage
import VirtualDisk

/// Reference points: the directories in `points`.
///
/// They are read when they are looked at, and again when the tracking file has changed since. Everything here may wait, and
/// runs as a task.
extension Server {
  /// Learns which points the image has. Where there is no tracking file, and where it is as it was, nothing is opened.
  ///
  /// What keeps them from being read is noted; there are none then.
  ///
  /// - Parameter afterChange: they were changed from here. The file's time, which may be coarse, need not tell of it.
  func refreshPoints(of image: ImageView, afterChange: Bool = false) {
    let stamp = TrackingFileStamp(beside: image.entry.path)
    if !afterChange, tree.knowsPoints(of: image, stamp) { return }
    guard stamp != nil else { return tree.update(points: [], of: image, asOf: nil) }
    do throws(ImageError) {
      let facts = try library.tracking(of: image.name)
      tree.update(points: facts.points, of: image, asOf: stamp)
    } catch {
      image.note(error)
      tree.update(points: [], of: image, asOf: nil)
    }
  }

  /// MKDIR: makes a point.
  func makeDirectory(_ request: Request, in parent: NodeNumber, name: String?) {
    guard case .place(let image, .points) = tree.node(parent) else { return request.fail(EPERM) }
    guard tree.isPresent(image) else { return request.fail(ESTALE) }
    guard let name, ReferencePoint.isName(name) else {
      let shown = name.map(escaped) ?? "a name that is no text"
      image.note(
        ImageError(
          .invalidParameter,
          "\(escaped(image.name)): \(shown): a point's name has 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', and is not "
            + "'parent'"))
      return request.fail(EINVAL)
    }
    tasks.add { [unowned self] in
      do throws(ImageError) {
        let point = try library.makePoint(name, of: image.name)
        refreshPoints(of: image, afterChange: true)
        guard let made = tree.point(of: image, named: name), made.point.id == point.id else {
          return request.fail(ESTALE)
        }
        enter(request, made.counter, made.point, .directory)
      } catch {
        image.note(error)
        request.fail(error.errno.rawValue)
      }
    }
  }

  /// RMDIR: drops a point, with the files that stand in its directory.
  func removeDirectory(_ request: Request, in parent: NodeNumber, name: String?) {
    guard case .place(let image, .points) = tree.node(parent), let name else { return request.fail(EPERM) }
    guard tree.isPresent(image) else { return request.fail(ESTALE) }
    tasks.add { [unowned self] in
      refreshPoints(of: image)
      // By its id: a point of this name that somebody makes meanwhile stays.
      guard let known = tree.point(of: image, named: name) else { return request.fail(ENOENT) }
      do throws(ImageError) {
        try library.dropPoint(known.point.id, of: image.name)
        refreshPoints(of: image, afterChange: true)
        request.succeed()
      } catch {
        image.note(error)
        request.fail(error.errno.rawValue)
      }
    }
  }

  /// Names in `points` and in a point's directory.
  func lookupPoint(_ request: Request, _ image: ImageView, name: String) {
    guard ReferencePoint.isName(name) else { return request.fail(ENOENT) }
    tasks.add { [unowned self] in
      refreshPoints(of: image)
      guard let known = tree.point(of: image, named: name) else { return request.fail(ENOENT) }
      enter(request, known.counter, known.point, .directory)
    }
  }

  func openPoint(_ request: Request, _ point: ReferencePoint, _ place: PointPlace, flags: Int32) {
    guard flags & O_ACCMODE == O_RDONLY else { return request.fail(EACCES) }
    let report = PointReport(point)
    switch place {
    case .directory: request.fail(EISDIR)
    case .id: replyOpened(request, OpenFacts(report.id))
    case .created: replyOpened(request, OpenFacts(report.created))
    case .info: replyOpened(request, OpenFacts(report.bytes(as: .text)))
    case .infoAsJSON: replyOpened(request, OpenFacts(report.bytes(as: .json)))
    }
  }

  func status(of point: ReferencePoint, _ place: PointPlace, _ number: NodeNumber) -> stat {
    place == .directory
      ? attributes.directory(number, mode: 0o500, modified: point.created)
      : attributes.facts(number, modified: point.created)
  }

  func enter(_ request: Request, _ counter: UInt64, _ point: ReferencePoint, _ place: PointPlace) {
    let number = NodeNumber(point: counter, place)
    enter(request, number, status(of: point, place, number), Validity.facts)
  }
}
