import Storage

/// The state of the one who writes tables, log and headers. Lives in the image's `committer` lock.
///
/// Each log entry is a sequence of its own (its tail is itself): an entry is written only when everything that earlier
/// ones logged is in its place and flushed, which the flush of the payload that comes before each entry does by the way. So
/// the log never fills up, no sequence wraps, and a reader that knows only simple logs can replay it.
struct Committer {
  var current: CurrentHeader
  /// The header names a log (LogGuid) in this session.
  var logIsOpen = false
  /// A log GUID that entries carry while the header does not name it yet.
  var logGUID = GUID.zero
  /// The newest entry's number.
  var sequenceNumber: UInt64 = 0
  /// Pages of the newest entry that could not be put into their places: nothing else may be logged before they are.
  var unapplied: [LoggedPage] = []

  init(current: CurrentHeader) { self.current = current }
}

/// A page of tables on its way through the log.
struct LoggedPage {
  var fileOffset: UInt64
  var contents: [UInt8]
}
