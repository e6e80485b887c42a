import Storage
import Synchronization

/// A host file in memory that lets a test do something else in the middle of an operation: at just the moment that
/// two threads would have to meet by chance.
public final class InterleavedFile: HostFileDouble {
  public enum Kind: Sendable { case read, write, punch, flush, nextData }
  public enum Moment: Sendable { case before, after }

  private struct Step: Sendable {
    var kind: Kind
    var range: Range<UInt64>
    var moment: Moment
    var action: @Sendable () throws -> Void
  }

  public let file: RecordedFile
  private let steps = Mutex<[Step]>([])

  public init(_ file: RecordedFile) { self.file = file }

  /// Does `action` once, before or after the next operation of the kind that touches `range` (all of the file, if none
  /// is given). Actions come in the order in which they were asked for. No lock of this file is held meanwhile.
  public func on(
    _ kind: Kind, _ moment: Moment, in range: Range<UInt64> = 0..<UInt64.max,
    _ action: @escaping @Sendable () throws -> Void
  ) {
    steps.withLock { $0.append(Step(kind: kind, range: range, moment: moment, action: action)) }
  }

  /// How many actions have not had their moment yet.
  public var waitingCount: Int { steps.withLock { $0.count } }

  private func act(_ kind: Kind, _ moment: Moment, _ range: Range<UInt64>) throws(ImageError) {
    let step = steps.withLock { steps -> Step? in
      guard
        let index = steps.firstIndex(where: { step in
          step.kind == kind && step.moment == moment && (range.isEmpty || step.range.overlaps(range))
        })
      else { return nil }
      return steps.remove(at: index)
    }
    do {
      try step?.action()
    } catch let error as ImageError {
      throw error
    } catch {
      throw ImageError(errno: .ioError, "\(error)")
    }
  }

  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int {
    let range = offset..<(offset + UInt64(buffer.count))
    try act(.read, .before, range)
    let count = try file.read(into: buffer, at: offset)
    try act(.read, .after, range)
    return count
  }

  public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
    let range = offset..<(offset + UInt64(bytes.count))
    try act(.write, .before, range)
    try file.write(bytes, at: offset)
    try act(.write, .after, range)
  }

  public func punch(at offset: UInt64, length: UInt64) throws(ImageError) {
    try act(.punch, .before, offset..<(offset + length))
    try file.punch(at: offset, length: length)
    try act(.punch, .after, offset..<(offset + length))
  }

  public func flush() throws(ImageError) {
    try act(.flush, .before, 0..<0)
    try file.flush()
    try act(.flush, .after, 0..<0)
  }

  public func nextData(from offset: UInt64, end: UInt64) -> UInt64? {
    let found = file.nextData(from: offset, end: end)
    try? act(.nextData, .after, offset..<end)
    return found
  }

  public func size() throws(ImageError) -> UInt64 { try file.size() }
  public func resize(to size: UInt64) throws(ImageError) { try file.resize(to: size) }
}
