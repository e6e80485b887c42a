import Storage
import Synchronization
import SystemPackage

/// A host file in memory that knows which of its changes a power cut could undo.
///
/// What was written since the last flush may survive or not, each change by itself, in any order, and torn at sectors
/// of 512 bytes; what was flushed survives. It can also fail the Nth operation.
public final class RecordedFile: HostFileDouble {
  public enum Change: Sendable {
    case write(offset: UInt64, bytes: [UInt8])
    case resize(UInt64)
    case zero(offset: UInt64, length: UInt64)
  }

  public enum Fault: Sendable {
    /// The operation fails and does nothing.
    case fails(Errno)
    /// A flush says that it succeeded, but made nothing durable: for tests that must notice a missing flush.
    case liesOnFlush
  }

  private struct State {
    var now = SparseBytes()
    var stable = SparseBytes()
    var pending: [Change] = []
    var operations = 0
    var flushes = 0
    var faults: [Int: Fault] = [:]
    var sampling: SeededGenerator?
    var samples: [SparseBytes] = []
  }

  private let state: Mutex<State>

  public init(_ contents: SparseBytes = SparseBytes()) {
    var initial = State()
    initial.now = contents
    initial.stable = contents
    state = Mutex(initial)
  }

  /// What the file holds now, flushed or not.
  public var contents: SparseBytes { state.withLock { $0.now } }
  /// Changes, resizes, punches and flushes so far.
  public var operationCount: Int { state.withLock { $0.operations } }
  public var flushCount: Int { state.withLock { $0.flushes } }
  public var pendingCount: Int { state.withLock { $0.pending.count } }

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
    let (stable, pending) = state.withLock { ($0.stable, $0.pending) }
    return RecordedFile.crashState(stable, pending, &generator)
  }

  private static func crashState(
    _ stable: SparseBytes, _ pending: [Change], _ generator: inout SeededGenerator
  ) -> SparseBytes {
    var result = stable
    // Few lost, most lost, or all sides alike: each shows other errors.
    let share = [0.02, 0.5, 0.98].randomElement(using: &generator) ?? 0.5
    for change in pending.shuffled(using: &generator, ifTrue: Bool.random(using: &generator)) {
      let isLost = Double.random(in: 0..<1, using: &generator) < share
      switch change {
      case .write(let offset, let bytes):
        if isLost && Bool.random(using: &generator) { continue }
        RecordedFile.tear(bytes, offset, isLost: isLost, &result, &generator)
      case .resize(let size): if !isLost { result.resize(to: size) }
      case .zero(let offset, let length): if !isLost { result.zero(at: offset, length: length) }
      }
    }
    return result
  }

  private static func tear(
    _ bytes: [UInt8], _ offset: UInt64, isLost: Bool, _ result: inout SparseBytes,
    _ generator: inout SeededGenerator
  ) {
    guard isLost else {
      bytes.withUnsafeBytes { result.write($0, at: offset) }
      return
    }
    var done = 0
    while done < bytes.count {
      let step = min(bytes.count - done, 512 - Int((offset + UInt64(done)) % 512))
      if Bool.random(using: &generator) {
        bytes.withUnsafeBytes {
          result.write(UnsafeRawBufferPointer(rebasing: $0[done..<(done + step)]), at: offset + UInt64(done))
        }
      }
      done += step
    }
  }

  // MARK: - HostFileDouble

  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int {
    state.withLock { $0.now }.read(into: buffer, at: offset)
  }

  public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
    try change(.write(offset: offset, bytes: Array(bytes))) { $0.write(bytes, at: offset) }
  }

  public func resize(to size: UInt64) throws(ImageError) {
    try change(.resize(size)) { $0.resize(to: size) }
  }

  public func punch(at offset: UInt64, length: UInt64) throws(ImageError) {
    try change(.zero(offset: offset, length: length)) { $0.zero(at: offset, length: length) }
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
      if var generator = state.sampling, !state.pending.isEmpty {
        state.samples.append(RecordedFile.crashState(state.stable, state.pending, &generator))
        state.sampling = generator
      }
      state.stable = state.now
      state.pending = []
    }
  }

  public func nextData(from offset: UInt64, end: UInt64) -> UInt64? {
    state.withLock { $0.now }.nextPage(from: offset, end: end)
  }

  public func size() throws(ImageError) -> UInt64 { state.withLock { $0.now.size } }

  private func change(_ change: Change, _ apply: (inout SparseBytes) -> Void) throws(ImageError) {
    try state.withLock { (state) throws(ImageError) in
      let number = state.operations
      state.operations += 1
      if case .fails(let code) = state.faults[number] {
        throw ImageError(errno: code, "an operation failed as the test asked for")
      }
      apply(&state.now)
      state.pending.append(change)
    }
  }
}

extension Array {
  fileprivate func shuffled(using generator: inout SeededGenerator, ifTrue: Bool) -> [Element] {
    ifTrue ? shuffled(using: &generator) : self
  }
}
