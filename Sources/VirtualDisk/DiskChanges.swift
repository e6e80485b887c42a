import ChangeTracking
import Storage

/// Goes through what changed on a disk since a point, or what an image holds that its parent does not, in ascending
/// order and bounded memory.
///
/// The answer is what changed up to now, or a little more, never less. Not safe for concurrent use; the disk must stay
/// open.
public final class DiskChanges {
  private enum Source {
    case record(ChangeCursor)
    case image(VirtualDisk)
  }

  /// The point's id, or `parent`.
  public let limitID: String
  private let source: Source

  init(_ cursor: ChangeCursor) {
    source = .record(cursor)
    limitID = cursor.point.id
  }

  init(heldBy disk: VirtualDisk) {
    source = .image(disk)
    limitID = DiskChanges.parent
  }

  static let parent = "parent"

  /// The next changed range at or after `offset` and before `end` (bytes of the disk), clipped to both; nil when there
  /// is none. Waits.
  ///
  /// Errors: a point that was dropped meanwhile, a damaged record or image; the answer cannot be gone on with then.
  public func next(from offset: UInt64, end: UInt64) throws(ImageError) -> Range<UInt64>? {
    switch source {
    case .record(let cursor): try cursor.next(from: offset, end: end)
    case .image(let disk): try disk.nextHeld(from: offset, end: end)
    }
  }
}

extension VirtualDisk {
  /// What changed since `limit`: the id or the name of a point; or, for `parent`, what this image holds that its parent
  /// does not. Waits.
  ///
  /// Errors: `.invalidState` for a disk past which another was merged; why the record does not count; `.objectNotFound` for a point that there is not; `.notSupported` for `parent`
  /// where there is none.
  public func changes(since limit: String) throws(ImageError) -> DiskChanges {
    try failIfMergedPast()
    guard limit == DiskChanges.parent else {
      return DiskChanges(try ChangeCursor(try tracking.tracker(leaf), since: limit))
    }
    guard leaf.isDifferencing else {
      throw ImageError(
        .notSupported,
        "\(escaped(leaf.file.path)): has no parent to compare with; only a differencing image has")
    }
    return DiskChanges(heldBy: self)
  }

  /// The next range for which the leaf itself has bytes or says zero.
  fileprivate func nextHeld(from offset: UInt64, end: UInt64) throws(ImageError) -> Range<UInt64>? {
    var position = offset
    var start: UInt64?
    while position < end {
      let run = try leaf.locate(position, limit: end - position, mayWait: true)
      if run.kind == .parent {
        if let start { return start..<position }
      } else {
        start = start ?? position
      }
      position += run.length
    }
    return start.map { $0..<end }
  }
}
