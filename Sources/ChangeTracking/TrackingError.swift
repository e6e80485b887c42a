import Storage

/// The refusals of change tracking. Each says what to do; none is ever an empty list of changes.
public enum TrackingError {
  static let advice = "take a full copy"

  /// 32775, EPERM.
  public static func off(_ path: String) -> ImageError {
    ImageError(.invalidState, "\(escaped(path)): change tracking is off; switch it on, and \(advice) first")
  }

  /// 32789, ENXIO.
  public static func unknownPoint(_ path: String, _ limit: String) -> ImageError {
    ImageError(
      .objectNotFound,
      "\(escaped(path)): there is no reference point \(escaped(limit)); it was dropped, or is another image's; \(advice)"
    )
  }

  /// 32779, ENOENT.
  public static func noFile(_ path: String) -> ImageError {
    ImageError(
      .fileNotFound,
      "\(escaped(path)): there is no tracking file beside the image, so nothing is known of its changes; \(advice)"
    )
  }

  /// 32775, ESTALE.
  static func foreign(_ path: String, _ what: String) -> ImageError {
    ImageError(
      .invalidState, errno: .init(rawValue: 116),
      "\(escaped(path)): another program wrote the image since changes were last recorded (\(what)); reset change "
        + "tracking, and \(advice)")
  }

  /// 32775, ESTALE.
  static func copied(_ path: String) -> ImageError {
    ImageError(
      .invalidState, errno: .init(rawValue: 116),
      "\(escaped(path)): was copied or restored while the image was in use, so what it records may be of another "
        + "file; reset change tracking, and \(advice)")
  }

  /// 32775, ESTALE.
  static func uncleanVHD(_ path: String) -> ImageError {
    ImageError(
      .invalidState, errno: .init(rawValue: 116),
      "\(escaped(path)): the image was not closed, and a VHD does not tell whether another program wrote it since; "
        + "if none did, mount with -o sole-writer; else reset change tracking, and \(advice)")
  }

  /// 32776, EBADMSG.
  static func damaged(_ path: String, at offset: UInt64? = nil, _ what: String) -> ImageError {
    .damaged(path, at: offset, "\(what); reset change tracking, and \(advice)")
  }

  /// 32776, EBADMSG.
  static func givenUp(_ path: String) -> ImageError {
    damaged(path, "changes could not be recorded at some time, so the record was given up")
  }

  static func otherVersion(_ path: String, _ version: UInt32) -> ImageError {
    ImageError(
      .notSupported,
      "\(escaped(path)): is of version \(version) of the format; this program knows version 1. Use the newer "
        + "program, or reset change tracking and \(advice)")
  }
}
