import Storage
import Synchronization
import SystemPackage

/// A host file in memory that keeps a record of its changes, and knows which of them a power cut could undo: see
/// `RecordedEpoch`. It can also fail the Nth operation.
public final class RecordedFile: HostFileDouble {
  public enum Fault: Sendable {
    /// The operation fails and does nothing.
    case fails(Errno)
    /// A flush says that it succeeded, but made nothing durable: for tests that must notice a missing flush.
    case liesOnFlush
  }

  private struct State {
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
    var sampling: SeededGenerator?
    var samples: [SparseBytes] = []

    mutating func note(_ change: RecordedEpoch.Change) {
      epoch.entries.append(.init(change: change, operation: operation, sizeAfter: now.size))
    }
  }

  private let state: Mutex<State>

  public init(_ contents: SparseBytes = SparseBytes()) {
    var initial = State()
    initial.now = contents
    initial.epoch = RecordedEpoch(base: contents, operation: 0)
    state = Mutex(initial)
  }

  /// What the file holds now, flushed or not.
  public var contents: SparseBytes { state.withLock { $0.now } }
  /// Changes, resizes, punches and flushes so far.
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
  public func clearFaults() { state.withLock { $0.faults = [:] } }

  /// A state that a power cut could leave now, chosen by `generator`.
  public func crashState(_ generator: inout SeededGenerator) -> SparseBytes {
    let epoch = state.withLock { $0.epoch }
    return epoch.state(epoch.randomChoice(&generator))
  }

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
    state.withLock { $0.now }.read(into: buffer, at: offset)
  }

  public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
    try change { state in
      state.now.write(bytes, at: offset)
      state.note(.write(offset: offset / 512 * 512, bytes: state.now.sectors(around: offset, bytes.count)))
    }
  }

  public func resize(to size: UInt64) throws(ImageError) {
    try change { state in
      state.now.resize(to: size)
      state.note(.resize)
    }
  }

  public func punch(at offset: UInt64, length: UInt64) throws(ImageError) {
    try change { state in
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

  public func flush() throws(ImageError) {
    try state.withLock { (state) throws(ImageError) in
      let number = state.operations
      state.operations += 1
      state.flushes += 1
      switch state.faults[number] {
      case .fails(let code): throw ImageError(errno: code, "flush failed as the test asked for")
      case .liesOnFlush: return
      case nil: break
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

  public func size() throws(ImageError) -> UInt64 { state.withLock { $0.now.size } }

  private func change(_ apply: (inout State) -> Void) throws(ImageError) {
    try state.withLock { (state) throws(ImageError) in
      let number = state.operations
      state.operations += 1
      if case .fails(let code) = state.faults[number] {
        throw ImageError(errno: code, "an operation failed as the test asked for")
      }
      apply(&state)
    }
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
