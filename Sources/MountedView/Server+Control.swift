import CFuse
import Glibc
import ImageManagement
import Storage
import SystemPackage
import VirtualDisk

/// The control files: what stands in them is fixed when they are opened.
extension Server {
  func openFacts(_ request: Request, _ image: ImageView, _ query: ControlQuery, flags: Int32) {
    guard tree.isPresent(image) else { return request.fail(ESTALE) }
    // Facts only: a question that is written and an answer that is read on one descriptor is for later files.
    guard flags & O_ACCMODE == O_RDONLY else { return request.fail(EACCES) }
    guard let seat = answers.seat() else {
      image.note(
        ImageError(
          errno: Errno(rawValue: ENFILE),
          "\(escaped(image.name)): \(query.file.name) was not opened, because \(OpenAnswers.limit) control files are "
            + "open; close some of them"))
      return request.fail(ENFILE)
    }
    tasks.add { [unowned self] in
      do throws(ImageError) {
        if query.file == .map {
          replyOpened(request, try openMap(of: image, query, seat))
        } else {
          replyOpened(request, OpenFacts(try contents(of: image, query), seat: seat))
        }
      } catch {
        image.note(error)
        request.fail(error.replyCode)
      }
    }
  }

  /// The contents of a control file. Opens what it needs to. Waits.
  ///
  /// Errors: `.invalidParameter` for a question that is not understood; what keeps the facts from being read.
  private func contents(of image: ImageView, _ query: ControlQuery) throws(ImageError) -> [UInt8] {
    let question = try ControlQuestion(query)
    switch query.file {
    case .error: return Array((image.failure.map { $0 + "\n" } ?? "").utf8)
    case .info:
      let entry = try library.entry(named: image.name)
      // What is told here holds for the names beside it too: `disk` is there when the state says that it can
      // be.
      if entry.identity == image.identity { image.entry = entry }
      return InfoReport(entry, parentPath: parentPath(of: entry)).bytes(as: question.format)
    case .chain: return ChainReport(try library.chain(of: image.name)).bytes(as: question.format)
    case .map: return []
    }
  }

  /// Where the parent was found; nil where there is none, or it cannot be found.
  private func parentPath(of entry: ImageEntry) -> String? {
    guard case .success(let facts) = entry.facts, facts.type == .differencing,
      let links = try? library.chain(of: entry.name), links.count > 1, case .success = links[1].facts
    else { return nil }
    return links[1].path
  }

  private func openMap(of image: ImageView, _ query: ControlQuery, _ seat: OpenAnswers.Seat)
    throws(ImageError) -> OpenMap
  {
    let question = try ControlQuestion(query)
    let handle = try library.open(image.name, access: .read)
    do throws(ImageError) {
      let range = try question.range(ofDisk: handle.disk.size, image.name)
      return OpenMap(image: image, handle: handle, range: range, format: question.format, seat: seat)
    } catch {
      try? handle.close()
      throw error
    }
  }
}
