import CFuse
import Glibc
import ImageManagement
import Storage
import SystemPackage
import VirtualDisk

/// The control files: what stands in them is fixed when they are opened.
extension Server {
  func openFacts(_ request: Request, _ image: ImageView, _ query: ControlQuery, flags: Int32) {
    guard shows(query.file, of: image) else { return request.fail(ESTALE) }
    guard let seat = answers.seat() else {
      image.note(
        ImageError(
          errno: Errno(rawValue: ENFILE),
          "\(escaped(image.name)): \(query.file.name) was not opened, because \(OpenAnswers.limit) control files are "
            + "open; close some of them"))
      return request.fail(ENFILE)
    }
    guard flags & O_ACCMODE == O_RDONLY else {
      return openExchange(request, image, query, flags: flags, seat)
    }
    tasks.add { [unowned self] in
      do throws(ImageError) {
        switch query.file {
        case .map: replyOpened(request, try openMap(of: image, query, seat))
        case .changes: replyOpened(request, try openChanges(of: image, query, seat))
        default: replyOpened(request, OpenFacts(try contents(of: image, query), seat: seat))
        }
      } catch {
        image.note(error)
        request.fail(error.errno.rawValue)
      }
    }
  }

  /// The contents of a control file. Opens what it needs to. Waits.
  ///
  /// Errors: `.invalidParameter` for a question that is not understood; what keeps the facts from being read.
  func contents(of image: ImageView, _ query: ControlQuery) throws(ImageError) -> [UInt8] {
    let question = try ControlQuestion(query)
    switch query.file {
    case .error: return Array((image.failure.map { escapedSentence($0) + "\n" } ?? "").utf8)
    case .info:
      let entry = try library.entry(named: image.name)
      // What is told here holds for the names beside it too: `disk` is there when the state says that it can
      // be.
      if entry.identity == image.identity { image.entry = entry }
      let tracking = library.trackingState(of: entry)
      return InfoReport(
        jobs.underway(on: entry.identity).map(entry.held(by:)) ?? entry, parentPath: parentPath(of: entry),
        tracking: tracking
      ).bytes(as: question.format)
    case .chain: return ChainReport(try library.chain(of: image.name)).bytes(as: question.format)
    case .tracking:
      let facts = try library.tracking(of: image.name)
      return question.showsPointsOnly
        ? try PointListReport(facts).bytes(as: question.format)
        : TrackingReport(facts).bytes(as: question.format)
    case .mapPicture: return try picture(of: image)
    case .job: return lastJob(of: image).map { JobReport($0).bytes(as: question.format) } ?? []
    case .operation:
      let job = lastJob(of: image, operation: query.file.name)
      return job.map { JobReport($0).bytes(as: question.format) } ?? []
    case .map, .changes, .cancel: return []
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
    throws(ImageError) -> OpenStream
  {
    let question = try ControlQuestion(query)
    return try openStream(of: image, seat) { (disk) throws(ImageError) in
      let range = try question.range(ofDisk: disk.size, image.name)
      let length = range.upperBound - range.lowerBound
      return .map(MapReport(of: disk, from: range.lowerBound, length: length, as: question.format))
    }
  }

  func openChanges(of image: ImageView, _ query: ControlQuery, _ seat: OpenAnswers.Seat)
    throws(ImageError) -> OpenStream
  {
    let request = try ControlQuestion(query).request
    return try openStream(of: image, seat) { (disk) throws(ImageError) in
      .changes(try ChangesReport(of: disk, request))
    }
  }

  /// Holds the disk open for a report, of which the first piece is made at once, so that what is wrong shows at the open.
  private func openStream(
    of image: ImageView, _ seat: OpenAnswers.Seat,
    make: @escaping @Sendable (VirtualDisk) throws(ImageError) -> OpenStream.Report
  ) throws(ImageError) -> OpenStream {
    let handle = try library.open(image.name, access: .read)
    let stream = OpenStream(image: image, handle: handle, seat: seat, make: make)
    do throws(ImageError) {
      try stream.begin()
      return stream
    } catch {
      try? handle.close()
      throw error
    }
  }

  private func picture(of image: ImageView) throws(ImageError) -> [UInt8] {
    let handle = try library.open(image.name, access: .read)
    do throws(ImageError) {
      let tracking = try library.tracking(of: image.name)
      let picture = try DiskPicture(of: handle.disk, name: image.name, tracking: tracking).svg
      try handle.close()
      return picture
    } catch {
      try? handle.close()
      throw error
    }
  }
}
