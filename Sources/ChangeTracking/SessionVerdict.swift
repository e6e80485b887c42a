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
    guard header.hasWriteIdentity == (image.writes != nil), header.diskSize == image.diskSize else {
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
      // A copy may be older, by its times; a VHD has nothing else to tell by.
      guard image.writes == nil ? image.modified == header.modified : image.modified <= header.modified else {
        throw TrackingError.foreign(path, "its time of change is newer")
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
}
