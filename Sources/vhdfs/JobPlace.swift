import Glibc
import MountedView
import Storage
import SystemPackage

/// A running mount, or one image of it, as the user names it: the mount's directory, an image's directory in it, or the
/// image file itself.
struct JobPlace {
  private let given: String
  /// Where it is mounted.
  private let point: FilePath
  /// The image's directory in the mount; nil where the whole mount is meant.
  private let image: FilePath?

  /// Errors: `.objectNotFound` where no mount of this user's is meant.
  init(_ path: String) throws(ImageError) {
    given = path
    if let resolved = realpath(path, nil) {
      let place = FilePath(String(cString: resolved))
      free(resolved)
      for mount in MountTable.entries where mount.isMine {
        let mountPoint = FilePath(mount.mountPoint)
        guard place.starts(with: mountPoint) else { continue }
        point = mountPoint
        let inside = place.components.dropFirst(mountPoint.components.count)
        image = inside.first.map { mountPoint.appending($0) }
        return
      }
    }
    if let mount = RunningMount(holding: path) {
      point = FilePath(mount.point)
      image = mount.directory
      return
    }
    throw ImageError(
      .objectNotFound,
      "\(escaped(path)): neither a mount of yours nor an image that one of them shows; jobs are those of a mount"
    )
  }

  /// The numbers of the jobs that are shown, ascending; of an image its own, and those of files that had its name before.
  var jobs: [UInt64] {
    let numbers = MountService.jobs(of: point.string)
    guard let image else { return numbers }
    let last = lastOfImage
    return numbers.filter { $0 == last || imageName(of: $0) == image.lastComponent?.string }
  }

  /// The running or the last job that the image itself says it has: of the file that has its name now.
  private var lastOfImage: UInt64? {
    image.flatMap { RunningMount.contents(of: $0.appending("control").appending("job")) }
      .flatMap { JobPlace.fact("id", in: $0) }.flatMap { UInt64($0) }
  }

  private func imageName(of job: UInt64) -> String? {
    fact("image", of: job).map { MountEntry.unescaped(Array($0.utf8)[...]) }
  }

  /// One job: that of the number, or without one the image's running or last.
  ///
  /// Errors: `.objectNotFound`; `.invalidParameter` where it is not said which.
  func job(_ number: UInt64?) throws(ImageError) -> UInt64 {
    if let number {
      guard jobs.contains(number) else {
        throw ImageError(
          .objectNotFound,
          "\(escaped(given)): there is no job \(number); a job is shown for five minutes after its end")
      }
      return number
    }
    guard image != nil else {
      throw ImageError(
        .invalidParameter, "\(escaped(given)): is a whole mount; say which job, or name an image")
    }
    guard let last = lastOfImage else {
      throw ImageError(.objectNotFound, "\(escaped(given)): there was no job in the last five minutes")
    }
    return last
  }

  /// All facts of a job, as `.jobs` has them. Errors: `.objectNotFound` when it is not shown any more.
  func facts(of job: UInt64, json: Bool) throws(ImageError) -> [UInt8] {
    let name = "\(job)" + (json ? "?format=json" : "")
    guard let facts = RunningMount.contents(of: point.appending(".jobs").appending(name)) else {
      throw ImageError(.objectNotFound, "\(escaped(given)): there is no job \(job) any more")
    }
    return facts
  }

  /// One fact; nil where the job or the fact is not there.
  func fact(_ key: String, of job: UInt64) -> String? {
    (try? facts(of: job, json: false)).flatMap { JobPlace.fact(key, in: $0) }
  }

  private static func fact(_ key: String, in facts: [UInt8]) -> String? {
    let line = facts.split(separator: UInt8(ascii: "\n")).first { $0.starts(with: "\(key) ".utf8) }
    return line.map { String(decoding: $0.dropFirst(key.utf8.count + 1), as: UTF8.self) }
  }

  /// The CIM number of a job's state; 0 where it is not there.
  func state(of job: UInt64) -> UInt16 {
    fact("job_state", of: job)?.split(separator: " ").first.flatMap { UInt16($0) } ?? 0
  }

  /// Asks a job to end, and waits until it has.
  ///
  /// Errors: `.invalidState` where it has ended already; `.timeout` where it takes more than ten seconds.
  func cancel(_ job: UInt64) throws(ImageError) {
    let file = point.appending(imageName(of: job) ?? "").appending("control").appending("cancel")
    do {
      let descriptor = try FileDescriptor.open(file, .writeOnly)
      defer { try? descriptor.close() }
      _ = try descriptor.writeAll("job=\(job)\n".utf8)
    } catch {
      let cause = error as? Errno ?? .ioError
      // It may have ended meanwhile, or be shown no longer; no other failure says so.
      let state = state(of: job)
      guard state >= 7 || state == 0 else {
        throw ImageError(
          errno: cause, "\(escaped(given)): job \(job) was not cancelled: \(cause.description)")
      }
      throw ImageError(.invalidState, "\(escaped(given)): job \(job) has ended already")
    }
    for _ in 0..<200 {
      if state(of: job) >= 7 { return }
      usleep(50_000)
    }
    throw ImageError(
      .timeout, "\(escaped(given)): job \(job) was asked to end, and has not come to a safe point yet")
  }
}
