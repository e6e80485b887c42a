/// How a library tracks changes.
public struct TrackingOptions: Sendable, Equatable {
  /// A write whose change cannot be recorded fails; otherwise the record is ended, durably, and the write goes on.
  public var isStrict = false
  /// Nobody else writes the images: a VHD that was not closed is believed to be as it was left.
  public var isSoleWriter = false
  /// Tracking is switched on for every image that is opened for writing.
  public var tracksAll = false
  /// The size of a region that is marked as a whole, as a power of two, for tests; nil: what fits the disk.
  package var regionShift: UInt64?

  public init() {}
}

/// What is asked of an image's tracking.
public enum TrackingChange: String, Sendable, CaseIterable {
  /// A new history begins, unless one is kept already.
  case on
  /// Every point ends for ever.
  case off
  /// A new history in the place of whatever was there.
  case reset
}
