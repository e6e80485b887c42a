import Storage
import Synchronization
import VirtualDisk

/// One image as the mount shows it: what is known of it, without a file being opened for it.
///
/// Lives as long as the image is there, or the kernel knows one of its nodes, or a file of it is open.
final class ImageView: Sendable {
  let serial: UInt64
  let name: String
  let identity: FileIdentity

  private struct State {
    var entry: ImageEntry
    var failure: String?
    var partitions: [PartitionWindow]?
    /// What the partitions were read from.
    var partitionsAsOf: HostFileStatus?
  }

  private let state: Mutex<State>
  /// Raw files open for writing.
  let writers = Atomic<Int>(0)
  /// Raw files open.
  let openFiles = Atomic<Int>(0)
  /// Something was written through this mount since the partitions were read.
  let partitionsMayHaveChanged = Atomic<Bool>(false)
  /// An order that changes the image's state is being carried out.
  let isUnderOrder = Atomic<Bool>(false)
  /// Something was written since the last clean close.
  let hasUnfinishedWrites = Atomic<Bool>(false)

  init(serial: UInt64, entry: ImageEntry) {
    self.serial = serial
    self.name = entry.name
    self.identity = entry.identity
    self.state = Mutex(State(entry: entry))
  }

  var entry: ImageEntry {
    get { state.withLock { $0.entry } }
    set { state.withLock { $0.entry = newValue } }
  }

  /// Nil when the image cannot be read.
  var facts: ImageFacts? {
    state.withLock { if case .success(let facts) = $0.entry.facts { facts } else { nil } }
  }

  var isBroken: Bool { facts == nil }

  /// The sentence of the last failure; nil when there was none.
  var failure: String? { state.withLock { $0.failure } }

  /// Keeps the failure's sentence; true when it is another than the last.
  @discardableResult
  func note(_ error: ImageError) -> Bool {
    state.withLock { state in
      let isNew = state.failure != error.description
      state.failure = error.description
      return isNew
    }
  }

  // MARK: - Partitions

  /// The partitions as they were last read; nil when they must be read (again).
  var knownPartitions: [PartitionWindow]? {
    if partitionsMayHaveChanged.load(ordering: .relaxed) { return nil }
    return state.withLock { state in
      guard case .success(let facts) = state.entry.facts, state.partitionsAsOf == facts.hostStatus else {
        return nil
      }
      return state.partitions
    }
  }

  /// The partitions as they were last read, be that long ago; what is open and what is listed goes by them.
  var lastPartitions: [PartitionWindow] { state.withLock { $0.partitions ?? [] } }

  func remember(_ partitions: [PartitionWindow]) {
    state.withLock { state in
      state.partitions = partitions
      if case .success(let facts) = state.entry.facts { state.partitionsAsOf = facts.hostStatus }
    }
  }
}

/// Where a partition lies on its disk, in bytes.
struct PartitionWindow: Hashable, Sendable {
  let number: Int
  let firstByte: UInt64
  let length: UInt64
}
