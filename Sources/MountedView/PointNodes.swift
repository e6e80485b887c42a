import ChangeTracking
import ImageManagement

/// The reference points that the mount shows, or that the kernel still knows, and their numbers.
///
/// A point is told from others by its image and its id: one of the same name that was made later has another number. It
/// is remembered as long as it is listed or the kernel has not forgotten its nodes.
struct PointNodes {
  private struct Key: Hashable {
    let serial: UInt64
    let id: String
  }

  private struct Entry {
    let serial: UInt64
    let point: ReferencePoint
    var lookups: UInt64 = 0
    var isListed = true
  }

  /// The points of one image as they were last seen.
  private struct List {
    /// The tracking file as it was then; nil: there was none.
    let asOf: TrackingFileStamp?
    /// Oldest first.
    let counters: [UInt64]
    let byName: [String: UInt64]
  }

  private var entries: [UInt64: Entry] = [:]
  private var counters: [Key: UInt64] = [:]
  private var lists: [UInt64: List] = [:]
  private var last: UInt64 = 0

  var count: Int { entries.count }

  /// Takes over the points that the image has now.
  mutating func update(image serial: UInt64, _ points: [ReferencePoint], asOf stamp: TrackingFileStamp?) {
    let before = lists[serial]?.counters ?? []
    var numbers: [UInt64] = []
    var byName: [String: UInt64] = [:]
    for counter in before { entries[counter]?.isListed = false }
    for point in points {
      let key = Key(serial: serial, id: point.id)
      let counter: UInt64
      if let known = counters[key] {
        counter = known
        entries[known]?.isListed = true
      } else {
        last += 1
        counter = last
        counters[key] = counter
        entries[counter] = Entry(serial: serial, point: point)
      }
      numbers.append(counter)
      byName[point.name] = counter
    }
    lists[serial] = List(asOf: stamp, counters: numbers, byName: byName)
    for counter in before { dropIfUnknown(counter) }
  }

  /// Whether the points of the image were seen when its tracking file was as it is now.
  func isCurrent(image serial: UInt64, _ stamp: TrackingFileStamp?) -> Bool {
    guard let list = lists[serial] else { return false }
    return list.asOf == stamp
  }

  /// Oldest first.
  func points(image serial: UInt64) -> [(counter: UInt64, point: ReferencePoint)] {
    (lists[serial]?.counters ?? []).compactMap { counter in entries[counter].map { (counter, $0.point) } }
  }

  func counter(image serial: UInt64, named name: String) -> UInt64? { lists[serial]?.byName[name] }

  /// The image and the point of a number; nil when it is not known any more.
  func entry(_ counter: UInt64) -> (serial: UInt64, point: ReferencePoint)? {
    entries[counter].map { ($0.serial, $0.point) }
  }

  /// Returns the image's serial number; nil when the point is not known any more.
  mutating func countLookup(_ counter: UInt64) -> UInt64? {
    entries[counter]?.lookups += 1
    return entries[counter]?.serial
  }

  /// Returns the image's serial number; nil when the point is not known any more.
  mutating func forget(_ counter: UInt64, _ count: UInt64) -> UInt64? {
    guard let entry = entries[counter] else { return nil }
    entries[counter]?.lookups -= min(count, entry.lookups)
    dropIfUnknown(counter)
    return entry.serial
  }

  /// The image is gone.
  mutating func drop(image serial: UInt64) {
    guard let list = lists.removeValue(forKey: serial) else { return }
    for counter in list.counters {
      entries[counter]?.isListed = false
      dropIfUnknown(counter)
    }
  }

  private mutating func dropIfUnknown(_ counter: UInt64) {
    guard let entry = entries[counter], !entry.isListed, entry.lookups == 0 else { return }
    entries[counter] = nil
    counters[Key(serial: entry.serial, id: entry.point.id)] = nil
  }
}
