import ChangeTracking
import Glibc
import Storage
import VirtualDisk

extension DiskPicture {
  /// What `disk` holds now, and what changed on it since the newest point. The disk must stay open meanwhile. Waits.
  ///
  /// Errors: those of reading the tables. What is wrong with the record of changes is said in the picture.
  public init(of disk: VirtualDisk, name: String, tracking: TrackingFacts) throws(ImageError) {
    var picture = DiskPicture(
      name: name, size: disk.size, hasParent: disk.paths.count > 1, made: Int64(time(nil)) * 1_000_000_000)
    try disk.forEachMapRun(from: 0, length: disk.size) { run in
      let kind: Kind =
        switch run.kind {
        case .data: run.depth == 0 ? .own : .parent
        case .zero: .zero
        case .unmapped: .unmapped
        }
      picture.add(run.offset..<(run.offset + run.length), kind)
      return true
    }
    picture.look(at: disk, tracking)
    self = picture
  }

  private mutating func look(at disk: VirtualDisk, _ tracking: TrackingFacts) {
    switch tracking.state {
    case .off: changes = .unknown("Change tracking is off")
    case .refused: changes = .unknown("The record of changes does not count: see the file tracking")
    case .on:
      guard let newest = tracking.points.last else {
        changes = .unknown("No reference point was made yet")
        return
      }
      let before = self
      do throws(ImageError) {
        let found = try disk.changes(since: newest.id)
        var position: UInt64 = 0
        while position < size, let range = try found.next(from: position, end: size) {
          addChange(range)
          position = range.upperBound
        }
        changes = .since(newest)
      } catch {
        self = before
        changes = .unknown("What changed cannot be told: see the file error")
      }
    }
  }
}
