import Storage
import Synchronization
import SystemPackage

/// A host file in memory that keeps a record of its changes, and knows which of them a power cut could undo: see
/// `RecordedEpoch`. It can also fail operations: one of all changes and flushes by its number, or those that a `FaultPlan`
/// names, reads as well.
public final class RecordedFile: HostFileDouble {
  public enum Operation: String, CaseIterable, Sendable {
    case read, write, resize, punch, reserve, flush
  }

  public enum Fault: Sendable {
    /// The operation fails and does nothing.
    case fails(Errno)
    /// A write does the sectors of its first half and fails then; anything else fails and does nothing.
    case failsHalfWay(Errno)
    /// A write does so many of its bytes and fails then, as at a limit of the file's size; anything else fails and does
    /// nothing.
    case failsAfter(Int, Errno)
    /// A flush says that it succeeded, but made nothing durable: for tests that must notice a missing flush.
    case liesOnFlush
  }

  /// Which operations fail, and how.
  public struct FaultPlan: Sendable {
    public var operations: Set<Operation>
    /// The number of the first one that fails, among the operations named and counted from the plan's beginning.
    public var first: Int
    /// All that follow fail as well, as when the disk is gone, or full.
    public var lasts: Bool
    public var fault: Fault

    public init(_ operations: Set<Operation>, first: Int, lasts: Bool = false, _ fault: Fault) {
      self.operations = operations
      self.first = first
      self.lasts = lasts
      self.fault = fault
    }
  }

  fileprivate struct State {
    var now = SparseBytes()
    /// What changed since the last flush.
    var epoch = RecordedEpoch(base: SparseBytes(), operation: 0)
    /// Finished epochs, if a record is kept.
    var epochs: [RecordedEpoch]?
    /// What the caller is doing.
    var operation = 0
    var operations = 0
    var flushes = 0
    var faults: [Int: Fault] = [:]
    var plan: FaultPlan?
    /// Operations of the plan's kinds since it began, and how many of them failed.
    var planned = 0
    var failed = 0
    var failedFlushes = 0
    /// Operations of every kind, and how many there may be.
    var all = 0
    var limit = Int.max
    var sampling: SeededGenerator?
    var samples: [SparseBytes] = []
    var power: PowerSupply?
    /// Stands for the time of the last change.
    var changes: Int64 = 0

    mutating func note(_ change: RecordedEpoch.Change) {
      epoch.entries.append(.init(change: change, operation: operation, sizeAfter: now.size))
    }
  }

  private let state: Mutex<State>

  /// - Parameter modified: the time of its last change so far.
  public init(_ contents: SparseBytes = SparseBytes(), modified: Int64 = 0) {
    var initial = State()
    initial.changes = modified
    initial.now = contents
    initial.epoch = RecordedEpoch(base: contents, operation: 0)
    state = Mutex(initial)
  }

  /// What the file holds now, flushed or not.
  public var contents: SparseBytes { state.withLock { $0.now } }
  /// Writes, resizes, punches, reservations and flushes so far.
  public var operationCount: Int { state.withLock { $0.operations } }
  public var flushCount: Int { state.withLock { $0.flushes } }
  public var pendingCount: Int { state.withLock { $0.epoch.entries.count } }

  /// From now on keeps, at each flush, a state that a power cut just before its end could have left.
  public func sample(_ generator: SeededGenerator) { state.withLock { $0.sampling = generator } }

  /// No more states are kept.
  public func clearSamples() {
    state.withLock { state in
      state.samples = []
      state.sampling = nil
    }
  }

  /// The states kept since the last call.
  public func takeSamples() -> [SparseBytes] {
    state.withLock { state in
      defer { state.samples = [] }
      return state.samples
    }
  }

  /// Makes operation `number` (counted from 0) fail.
  public func fail(_ number: Int, _ fault: Fault) { state.withLock { $0.faults[number] = fault } }
  /// From now on operations fail as the plan says; it takes the place of an earlier one.
  public func follow(_ plan: FaultPlan) {
    state.withLock { state in
      state.plan = plan
      state.planned = 0
      state.failed = 0
      state.failedFlushes = 0
    }
  }

  /// How many operations of the plan's kinds there were since it began.
  public var plannedCount: Int { state.withLock { $0.planned } }
  /// How many operations failed by the plan so far.
  public var failedCount: Int { state.withLock { $0.failed } }
  /// How many of those were flushes.
  public var failedFlushes: Int { state.withLock { $0.failedFlushes } }

  /// Every change takes power from the supply, which other files may share; without power every change and flush fails.
  public func connect(_ supply: PowerSupply) { state.withLock { $0.power = supply } }

  public var modified: Int64 { state.withLock { $0.changes } }

  public func clearFaults() {
    state.withLock { state in
      state.faults = [:]
      state.plan = nil
    }
  }

  /// After `count` more operations of any kind every one fails: what goes round in circles ends.
  public func limitOperations(to count: Int) { state.withLock { $0.limit = $0.all + count } }

  /// A state that a power cut could leave now, chosen by `generator`.
  public func crashState(_ generator: inout SeededGenerator) -> SparseBytes {
    let epoch = state.withLock { $0.epoch }
    return epoch.state(epoch.randomChoice(&generator))
  }

  /// What changed since the last flush.
  public var pending: RecordedEpoch { state.withLock { $0.epoch } }

  // MARK: - The record

  /// From now on keeps every epoch; `operation` is what the caller says that it is doing.
  public func record(operation: Int = 0) {
    state.withLock { state in
      state.epochs = []
      state.operation = operation
      state.epoch.firstOperation = operation
    }
  }

  /// What the caller is doing from now on: a number that only rises.
  public func begin(operation: Int) { state.withLock { $0.operation = operation } }

  /// The epochs so far in which anything changed, the one that no flush has ended yet included.
  public var epochs: [RecordedEpoch] {
    state.withLock { state in
      var last = state.epoch
      last.lastOperation = state.operation
      return (state.epochs ?? []) + (last.entries.isEmpty ? [] : [last])
    }
  }

  // MARK: - HostFileDouble

  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int {
    let contents = try state.withLock { (state) throws(ImageError) in
      if let code = state.begin(.read)?.code { throw RecordedFile.error(.read, at: offset, code) }
      return state.now
    }
    return contents.read(into: buffer, at: offset)
  }

  public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
    try state.withLock { (state) throws(ImageError) in
      let fault = state.begin(.write)
      if case .failsHalfWay = fault {
        // To the border of a sector, as any host file system does it.
        let border = (offset + UInt64(bytes.count / 2)) / 512 * 512
        if border > offset {
          state.write(UnsafeRawBufferPointer(rebasing: bytes[..<Int(border - offset)]), at: offset)
        }
      }
      if case .failsAfter(let count, _) = fault, count > 0 {
        state.write(UnsafeRawBufferPointer(rebasing: bytes.prefix(count)), at: offset)
      }
      if let code = fault?.code { throw RecordedFile.error(.write, at: offset, code) }
      state.write(bytes, at: offset)
    }
  }

  public func resize(to size: UInt64) throws(ImageError) {
    try change(.resize, at: size) { state in
      state.now.resize(to: size)
      state.note(.resize)
    }
  }

  public func punch(at offset: UInt64, length: UInt64) throws(ImageError) {
    try change(.punch, at: offset) { state in
      state.now.zero(at: offset, length: length)
      // The medium takes whole sectors: those that are zeroed in part are written.
      let end = offset + length
      let first = (offset + 511) / 512 * 512
      let last = max(first, end / 512 * 512)
      if offset < first {
        state.note(.write(offset: first - 512, bytes: state.now.sectors(around: offset, 1)))
      }
      if first < last { state.note(.zero(offset: first, length: last - first)) }
      if last < end { state.note(.write(offset: last, bytes: state.now.sectors(around: last, 1))) }
    }
  }

  public func reserve(at offset: UInt64, length: UInt64) throws(ImageError) {
    try change(.reserve, at: offset) { state in
      guard state.now.size < offset + length else { return }
      state.now.resize(to: offset + length)
      state.note(.resize)
    }
  }

  public func flush() throws(ImageError) {
    try state.withLock { (state) throws(ImageError) in
      state.flushes += 1
      if let fault = state.begin(.flush) {
        if let code = fault.code { throw RecordedFile.error(.flush, at: 0, code) }
        return
      }
      if var generator = state.sampling, !state.epoch.entries.isEmpty {
        state.samples.append(state.epoch.state(state.epoch.randomChoice(&generator)))
        state.sampling = generator
      }
      if !state.epoch.entries.isEmpty {
        state.epoch.lastOperation = state.operation
        state.epochs?.append(state.epoch)
      }
      state.epoch = RecordedEpoch(base: state.now, operation: state.operation)
    }
  }

  public func nextData(from offset: UInt64, end: UInt64) -> UInt64? {
    state.withLock { $0.now }.nextPage(from: offset, end: end)
  }

  public func nextHole(from offset: UInt64, end: UInt64) -> UInt64 {
    state.withLock { $0.now }.nextHole(from: offset, end: end)
  }

  public func size() throws(ImageError) -> UInt64 { state.withLock { $0.now.size } }

  private func change(
    _ operation: Operation, at offset: UInt64, _ apply: (inout State) -> Void
  ) throws(ImageError) {
    try state.withLock { (state) throws(ImageError) in
      if let code = state.begin(operation)?.code { throw RecordedFile.error(operation, at: offset, code) }
      apply(&state)
    }
  }

  private static func error(_ operation: Operation, at offset: UInt64, _ code: Errno) -> ImageError {
    ImageError(errno: code, "\(operation.rawValue) at \(offset) failed as the test asked for")
  }
}

extension RecordedFile.Fault {
  /// How the operation fails; nil where it only lies.
  fileprivate var code: Errno? {
    switch self {
    case .fails(let code), .failsHalfWay(let code), .failsAfter(_, let code): code
    case .liesOnFlush: nil
    }
  }
}

extension RecordedFile.State {
  /// Counts an operation; answers how it fails, if it does.
  fileprivate mutating func begin(_ operation: RecordedFile.Operation) -> RecordedFile.Fault? {
    all += 1
    if all > limit { return .fails(.tooManySymbolicLinkLevels) }
    var fault: RecordedFile.Fault?
    if operation != .read {
      if let power, !power.take() { return .fails(.ioError) }
      if operation != .flush { changes += 1 }
      fault = faults[operations]
      operations += 1
    }
    if let plan, plan.operations.contains(operation) {
      if planned == plan.first || plan.lasts && planned > plan.first {
        fault = plan.fault
        failed += 1
        if operation == .flush { failedFlushes += 1 }
      }
      planned += 1
    }
    return fault
  }

  fileprivate mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    now.write(bytes, at: offset)
    note(.write(offset: offset / 512 * 512, bytes: now.sectors(around: offset, bytes.count)))
  }
}

extension SparseBytes {
  /// The whole sectors that a range touches, as far as the file reaches.
  fileprivate func sectors(around offset: UInt64, _ count: Int) -> [UInt8] {
    let start = offset / 512 * 512
    let end = min(size, (offset + UInt64(count) + 511) / 512 * 512)
    guard start < end else { return [] }
    return [UInt8](unsafeUninitializedCapacity: Int(end - start)) { buffer, filled in
      filled = read(into: UnsafeMutableRawBufferPointer(buffer), at: start)
    }
  }
}
