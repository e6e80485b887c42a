import ChangeTracking
import ImageManagement
import Storage
import Synchronization
import VirtualDisk

/// Every node of the mount: which there are, what they are called, and which the kernel knows.
///
/// Invariants:
/// - An image that is there is in `present` and in `known`. One that has gone stays in `known` until the
///   kernel has forgotten its nodes and its files are closed, so that what is open goes on.
/// - One that has gone and has something to show yet is in `gone` too: its name stands for it as long as no other file has it.
/// - The lock is held for look-ups in tables only: nothing here opens or reads a file.
final class Tree: Sendable {
  private struct Known {
    let image: ImageView
    /// How many look-ups the kernel has not given back, over all of the image's nodes.
    var lookups: UInt64 = 0
  }

  private struct QueryKey: Hashable {
    let serial: UInt64
    let query: ControlQuery
  }

  private struct QueryNode {
    let key: QueryKey
    var lookups: UInt64
  }

  private struct State {
    var present: [ExactName: ImageView] = [:]
    var gone: [ExactName: ImageView] = [:]
    var known: [UInt64: Known] = [:]
    var queries: [NodeNumber: QueryNode] = [:]
    var queryNumbers: [QueryKey: NodeNumber] = [:]
    var points = PointNodes()
    var lastSerial: UInt64 = 0
    var lastQuery: UInt64 = 0
  }

  private let state = Mutex(State())

  /// A node and what it stands for.
  enum Node {
    case root
    case daemon
    /// The directory of all jobs, and one of them.
    case jobs
    case job(UInt64, ReportFormat)
    case place(ImageView, NodeNumber.Place)
    case query(ImageView, ControlQuery)
    case point(ImageView, ReferencePoint, PointPlace)
  }

  // MARK: - Nodes

  func node(_ number: NodeNumber) -> Node? {
    if number == .root { return .root }
    if number == .daemon { return .daemon }
    if number == .jobs { return .jobs }
    if number.isJob { return .job(number.jobID, number.rawValue & 1 == 0 ? .text : .json) }
    return state.withLock { state in
      if number.isQuery {
        guard let query = state.queries[number], let known = state.known[query.key.serial] else { return nil }
        return .query(known.image, query.key.query)
      }
      if number.isPoint {
        guard let place = number.pointPlace, let entry = state.points.entry(number.pointCounter),
          let known = state.known[entry.serial]
        else { return nil }
        return .point(known.image, entry.point, place)
      }
      guard let known = state.known[number.serial], let place = number.place else { return nil }
      return .place(known.image, place)
    }
  }

  /// The image is there now: its name stands for it and no other file.
  func isPresent(_ image: ImageView) -> Bool {
    state.withLock { $0.present[ExactName(image.name)] === image }
  }

  func image(named name: String) -> ImageView? { state.withLock { $0.present[ExactName(name)] } }

  /// One that has gone, and whose name no other file has.
  func goneImage(named name: String) -> ImageView? {
    let name = ExactName(name)
    return state.withLock { $0.present[name] == nil ? $0.gone[name] : nil }
  }

  /// The images that are there, by name.
  var images: [ImageView] { state.withLock { $0.present.values.sorted { $0.name < $1.name } } }

  /// The node of a name with a query; the same as long as the kernel knows it.
  func queryNode(_ image: ImageView, _ query: ControlQuery) -> NodeNumber {
    state.withLock { state in
      let key = QueryKey(serial: image.serial, query: query)
      if let number = state.queryNumbers[key] { return number }
      state.lastQuery += 1
      let number = NodeNumber(query: state.lastQuery)
      state.queryNumbers[key] = number
      state.queries[number] = QueryNode(key: key, lookups: 0)
      return number
    }
  }

  /// A node for one look-up of a file that takes orders.
  func operationNode(_ image: ImageView, _ query: ControlQuery) -> NodeNumber {
    state.withLock { state in
      state.lastQuery += 1
      let number = NodeNumber(query: state.lastQuery)
      state.queries[number] = QueryNode(key: QueryKey(serial: image.serial, query: query), lookups: 0)
      return number
    }
  }

  // MARK: - Points

  /// Takes over the points that the image has now.
  func update(points: [ReferencePoint], of image: ImageView, asOf stamp: TrackingFileStamp?) {
    state.withLock { state in
      guard state.known[image.serial] != nil else { return }
      state.points.update(image: image.serial, points, asOf: stamp)
    }
  }

  /// Whether the points of the image were seen when its tracking file was as it is now.
  func knowsPoints(of image: ImageView, _ stamp: TrackingFileStamp?) -> Bool {
    state.withLock { $0.points.isCurrent(image: image.serial, stamp) }
  }

  /// The points of the image as they were last seen, oldest first.
  func points(of image: ImageView) -> [(counter: UInt64, point: ReferencePoint)] {
    state.withLock { $0.points.points(image: image.serial) }
  }

  func point(of image: ImageView, named name: String) -> (counter: UInt64, point: ReferencePoint)? {
    state.withLock { state in
      guard let counter = state.points.counter(image: image.serial, named: name),
        let entry = state.points.entry(counter)
      else { return nil }
      return (counter, entry.point)
    }
  }

  // MARK: - What the kernel knows

  func countLookup(_ number: NodeNumber) {
    state.withLock { state in
      if number.isQuery {
        guard let key = state.queries[number]?.key else { return }
        state.queries[number]?.lookups += 1
        state.known[key.serial]?.lookups += 1
      } else if number.isPoint {
        if let serial = state.points.countLookup(number.pointCounter) { state.known[serial]?.lookups += 1 }
      } else {
        state.known[number.serial]?.lookups += 1
      }
    }
  }

  func forget(_ number: NodeNumber, _ count: UInt64) {
    state.withLock { state in
      var serial = number.serial
      if number.isQuery {
        guard var query = state.queries[number] else { return }
        serial = query.key.serial
        query.lookups -= min(count, query.lookups)
        state.queries[number] = query.lookups == 0 ? nil : query
        if query.lookups == 0, state.queryNumbers[query.key] == number { state.queryNumbers[query.key] = nil }
      } else if number.isPoint {
        guard let owner = state.points.forget(number.pointCounter, count) else { return }
        serial = owner
      }
      guard var known = state.known[serial] else { return }
      known.lookups -= min(count, known.lookups)
      state.known[serial] = known
      Tree.dropIfUnknown(serial, &state)
    }
  }

  /// How much is remembered: images, names with a query, points.
  var counts: (images: Int, queries: Int, points: Int) {
    state.withLock { ($0.known.count, $0.queries.count, $0.points.count) }
  }

  private static func dropIfUnknown(_ serial: UInt64, _ state: inout State) {
    guard let known = state.known[serial], known.lookups == 0 else { return }
    let name = ExactName(known.image.name)
    guard state.present[name] !== known.image, state.gone[name] !== known.image else { return }
    state.known[serial] = nil
    state.points.drop(image: serial)
  }

  // MARK: - Coming and going

  /// What a new look at the SOURCE directories came to.
  struct Change {
    /// Names that have gone, or stand for another file now.
    var vanished: [String] = []
    /// Images that became readable or unreadable.
    var changedState: [ImageView] = []
    var appeared: [ImageView] = []
  }

  /// Takes over what is there now.
  ///
  /// - Parameter isKept: whether an image that has gone can still be looked up. It is asked with the lock held.
  func update(_ entries: [ImageEntry], keeping isKept: (ImageView) -> Bool = { _ in false }) -> Change {
    state.withLock { state in
      var change = Change()
      var fresh: [ExactName: ImageView] = [:]
      for entry in entries where Tree.canBeShown(entry.name) {
        let name = ExactName(entry.name)
        guard fresh[name] == nil else { continue }
        if let image = state.present[name], image.identity == entry.identity {
          let wasBroken = image.isBroken
          image.entry = entry
          if image.isBroken != wasBroken { change.changedState.append(image) }
          fresh[name] = image
        } else {
          state.lastSerial += 1
          let image = ImageView(serial: state.lastSerial, entry: entry)
          state.known[image.serial] = Known(image: image)
          fresh[name] = image
          change.appeared.append(image)
        }
      }
      let gone = state.present.values.filter { fresh[ExactName($0.name)] !== $0 }
      state.present = fresh
      let formerlyGone = state.gone.values
      for image in gone where isKept(image) { state.gone[ExactName(image.name)] = image }
      state.gone = state.gone.filter { isKept($0.value) }
      for image in formerlyGone { Tree.dropIfUnknown(image.serial, &state) }
      for image in gone {
        change.vanished.append(image.name)
        Tree.dropIfUnknown(image.serial, &state)
      }
      return change
    }
  }

  static func canBeShown(_ name: String) -> Bool {
    !name.isEmpty && ![".", "..", daemonName, jobsName].contains(name) && !name.utf8.contains(0x2F)
  }

  /// A file of the root that is not listed: who serves the mount.
  static let daemonName = ".daemon"

  /// A directory of the root, listed while there are jobs to show.
  static let jobsName = ".jobs"
}
