import Storage
import TestSupport

@testable import ChangeTracking

/// An image that is only numbers, its tracking file in memory, and a model of what changed since each point.
struct TrackedImage {
  var file: RecordedFile
  var tracker: ChangeTracker
  var image: ImageState
  var boot = GUID.random()
  var isInSession = false
  /// For each point, oldest first: the 4 KiB units that changed since.
  var changed: [(id: String, name: String, units: Set<UInt64>)] = []

  static let granularity: UInt64 = 4096

  init(diskSize: UInt64, isVHD: Bool = false) throws {
    file = RecordedFile()
    image = ImageState(
      identity: FileIdentity(device: 1, inode: 5), fileSize: 1000, modified: 1, diskSize: diskSize,
      writes: isVHD ? nil : .init(fileWriteGUID: .random(), dataWriteGUID: .random()))
    try ChangeTracker.create(
      HostFile(path: "new.tracking", double: file), for: image, boot: boot, inSession: false)
    tracker = try TrackedImage.open(file, image, boot)
  }

  static func open(_ file: RecordedFile, _ image: ImageState, _ boot: GUID) throws -> ChangeTracker {
    try ChangeTracker(HostFile(path: "disk.tracking", double: file), image: image, boot: boot)
  }

  mutating func begin() throws {
    guard !isInSession else { return }
    let after =
      image.writes == nil
      ? nil : ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: .random())
    try tracker.beginSession(image, announcing: after)
    if let after { image.writes = after }
    isInSession = true
  }

  mutating func write(_ offset: UInt64, _ length: UInt64) throws {
    try begin()
    while try tracker.note(offset, length, mayWait: true) != .noted {}
    image.modified += 1
    let units = (offset / TrackedImage.granularity)...((offset + length - 1) / TrackedImage.granularity)
    for index in changed.indices { changed[index].units.formUnion(units) }
  }

  mutating func point(_ name: String) throws {
    tracker.hold()
    defer { tracker.letGo() }
    let point = try tracker.seal(name, created: 1)
    changed.append((point.id, name, []))
  }

  mutating func drop(_ index: Int) throws {
    try tracker.drop(changed[index].name)
    changed.remove(at: index)
  }

  mutating func close() throws {
    guard isInSession else { return }
    image.fileSize += 1
    try tracker.endSession(image)
    isInSession = false
  }

  mutating func reopen() throws {
    tracker = try TrackedImage.open(file, image, boot)
    isInSession = false
  }

  /// The units that the answer since a point holds.
  static func answer(_ tracker: ChangeTracker, since id: String, diskSize: UInt64) throws -> Set<UInt64> {
    let cursor = try ChangeCursor(tracker, since: id)
    var units: Set<UInt64> = []
    var position: UInt64 = 0
    while let range = try cursor.next(from: position, end: diskSize) {
      units.formUnion((range.lowerBound / granularity)...((range.upperBound - 1) / granularity))
      position = range.upperBound
    }
    return units
  }

  /// What is wrong with the answers of a tracker, if anything; `isExact`: nothing more than what changed.
  func problem(_ tracker: ChangeTracker, isExact: Bool) throws -> String? {
    for (id, name, units) in changed {
      let found = try TrackedImage.answer(tracker, since: id, diskSize: image.diskSize)
      if !found.isSuperset(of: units) {
        return "\(name): \(units.subtracting(found).count) units are missing"
      }
      if isExact, found != units { return "\(name): \(found.subtracting(units).count) units too many" }
    }
    return nil
  }
}
