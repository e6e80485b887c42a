import Storage

/// What became of the last session: whether what the file records can be believed.
enum SessionVerdict: Equatable {
  /// Closed cleanly; nothing was changed since.
  case clean
  /// The program was ended while it had the image open: everything it recorded is there.
  case killed
  /// The machine went down: regions that are marked count as changed.
  case powerCut

  /// Errors: the refusals of `TrackingError`.
  init(
    _ header: TrackingHeader, _ image: ImageState, boot: GUID, isSoleWriter: Bool, path: String
  ) throws(ImageError) {
    let isSize = header.diskSize == image.diskSize || header.otherDiskSize == image.diskSize
    guard header.hasWriteIdentity == (image.writes != nil), isSize else {
      throw TrackingError.foreign(path, "the disk has another size or format")
    }
    switch header.state {
    case .off: throw TrackingError.off(path)
    case .invalid: throw TrackingError.givenUp(path)
    case .clean:
      if let writes = image.writes, writes != header.before {
        throw TrackingError.foreign(path, "its write ids are others")
      }
      guard header.fileSize == image.fileSize else {
        throw TrackingError.foreign(path, "the file has another size")
      }
      guard isTime(image.modified, header.modified, exactly: image.writes == nil) else {
        throw TrackingError.foreign(path, "its time of change is another")
      }
      self = .clean
    case .open:
      let sameBoot = header.boot == boot
      // Numbers of devices may change from boot to boot.
      guard header.identity.inode == image.identity.inode,
        !sameBoot || header.identity.device == image.identity.device
      else { throw TrackingError.copied(path) }
      if let writes = image.writes {
        guard writes == header.before || writes == header.after else {
          throw TrackingError.foreign(path, "its write ids are others")
        }
      } else if !isSoleWriter {
        throw TrackingError.uncleanVHD(path)
      }
      self = sameBoot ? .killed : .powerCut
    }
  }

  /// Nanoseconds of a time of change that a copy may lose: FAT counts in steps of 2 s.
  fileprivate static let coarsestTime: Int64 = 2_000_000_000
}

/// Whether the image's time of change is the one that was recorded. A VHD has nothing else to tell by. A copy of a VHDX may
/// have a time without the digits behind the second; one that is older still is of an earlier state of the same
/// session, which has the same ids.
private func isTime(_ time: Int64, _ recorded: Int64, exactly: Bool) -> Bool {
  if exactly { return time == recorded }
  let (difference, overflow) = recorded.subtractingReportingOverflow(time)
  return !overflow && (0..<SessionVerdict.coarsestTime).contains(difference)
}
