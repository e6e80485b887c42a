import Storage
import Synchronization
import SystemPackage
import TestSupport

/// A host file in memory that records what is asked of it, so that the states that a crash may leave can be
/// made: of what came after the last flush any part may be lost.
final class RecordingFile: HostFileDouble {
  enum Operation: Sendable {
    /// Whole sectors of 512 bytes, as the medium takes them.
    case write(offset: UInt64, bytes: [UInt8])
    case punch(offset: UInt64, length: UInt64)
    case resize(UInt64)
    case flush
  }

  struct Contents: Sendable {
    var now: SparseBytes
    /// What the file held when recording began.
    let first: SparseBytes
    var log: [Operation] = []
    /// Fails the operation with this number (counted from 0 over all that change something), and every
    /// later one of its kind until it is set to nil.
    var failure: (operation: Int, error: Errno)?
    var count = 0
  }

  let contents: Mutex<Contents>

  init(_ bytes: SparseBytes = SparseBytes()) { contents = Mutex(Contents(now: bytes, first: bytes)) }

  /// An image as a file that can be opened.
  var file: HostFile { HostFile(path: "recorded.vhd", double: self) }

  /// How many operations were recorded.
  var position: Int { contents.withLock { $0.log.count } }

  /// How many of them were no flushes.
  var changeCount: Int {
    contents.withLock { contents in
      contents.log.filter { if case .flush = $0 { false } else { true } }.count
    }
  }

  func failFromNow(after count: Int, with error: Errno) {
    contents.withLock { $0.failure = ($0.count + count, error) }
  }
  func failNoMore() { contents.withLock { $0.failure = nil } }

  private func record(_ operation: Operation, _ contents: inout Contents) throws(ImageError) {
    contents.count += 1
    // A full host fails what needs room; a flush does not.
    var needsRoom = true
    if case .flush = operation { needsRoom = false }
    if let failure = contents.failure, contents.count > failure.operation,
      needsRoom || failure.error != .noSpace
    {
      throw ImageError(errno: failure.error, "recorded.vhd: failed as asked")
    }
    contents.log.append(operation)
    RecordingFile.apply(operation, to: &contents.now)
  }

  static func apply(_ operation: Operation, to bytes: inout SparseBytes) {
    switch operation {
    case .write(let offset, let data): data.withUnsafeBytes { bytes.write($0, at: offset) }
    case .punch(let offset, let length): bytes.zero(at: offset, length: length)
    case .resize(let size): bytes.resize(to: size)
    case .flush: break
    }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int {
    contents.withLock { $0.now.read(into: buffer, at: offset) }
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
    try contents.withLock { (contents) throws(ImageError) in
      // The medium takes whole sectors: what surrounds the bytes goes along.
      let start = offset / 512 * 512
      let end = max(
        offset + UInt64(bytes.count), min((offset + UInt64(bytes.count) + 511) / 512 * 512, contents.now.size)
      )
      var whole = [UInt8](repeating: 0, count: Int(end - start))
      whole.withUnsafeMutableBytes {
        _ = contents.now.read(into: $0, at: start)
        UnsafeMutableRawBufferPointer(rebasing: $0[Int(offset - start)...]).copyMemory(from: bytes)
      }
      try record(.write(offset: start, bytes: whole), &contents)
    }
  }

  /// Pages that were punched whole are holes, so that images may find blocks empty.
  func nextData(from offset: UInt64, end: UInt64) -> UInt64? {
    contents.withLock { $0.now.nextPage(from: offset, end: end) }
  }

  func flush() throws(ImageError) {
    try contents.withLock { (contents) throws(ImageError) in try record(.flush, &contents) }
  }

  func size() throws(ImageError) -> UInt64 { contents.withLock { $0.now.size } }

  func resize(to size: UInt64) throws(ImageError) {
    try contents.withLock { (contents) throws(ImageError) in try record(.resize(size), &contents) }
  }

  func punch(at offset: UInt64, length: UInt64) throws(ImageError) {
    // Whole sectors only, which is what the images ask for but at the edges of unaligned ranges.
    let start = min((offset + 511) / 512 * 512, offset + length)
    let end = max(start, (offset + length) / 512 * 512)
    for (from, to) in [(offset, start), (end, offset + length)] where from < to {
      let zeros = [UInt8](repeating: 0, count: Int(to - from))
      try contents.withLock { (contents) throws(ImageError) in
        let size = contents.now.size
        guard to <= size else { return }
        let first = from / 512 * 512
        var whole = [UInt8](repeating: 0, count: Int(min(first + 512, size) - first))
        whole.withUnsafeMutableBytes {
          _ = contents.now.read(into: $0, at: first)
          UnsafeMutableRawBufferPointer(rebasing: $0[Int(from - first)..<Int(to - first)])
            .copyBytes(from: zeros)
        }
        try record(.write(offset: first, bytes: whole), &contents)
      }
    }
    if start < end {
      try contents.withLock { (contents) throws(ImageError) in
        try record(.punch(offset: start, length: end - start), &contents)
      }
    }
  }

  /// What a crash after the first `position` operations may leave: all up to the last flush, and of the
  /// rest any operations, whole or in part.
  func crash(at position: Int, _ generator: inout SeededGenerator) -> SparseBytes {
    let (first, log) = contents.withLock { ($0.first, Array($0.log[..<position])) }
    let flushed = (log.lastIndex { if case .flush = $0 { true } else { false } }).map { $0 + 1 } ?? 0
    var bytes = first
    for operation in log[..<flushed] { RecordingFile.apply(operation, to: &bytes) }
    // All kept, all lost, most kept, most lost.
    let keep = [100, 0, 80, 20, 50][Int.random(in: 0..<5, using: &generator)]
    for operation in log[flushed...] {
      guard Int.random(in: 0..<100, using: &generator) < keep else {
        // A host may have made the file longer, and lost the bytes that made it so.
        if case .write(let offset, let data) = operation, Bool.random(using: &generator) {
          bytes.resize(to: max(bytes.size, offset + UInt64(data.count)))
        }
        continue
      }
      if case .write(let offset, let data) = operation, data.count > 512,
        Int.random(in: 0..<100, using: &generator) >= keep / 2
      {
        for start in stride(from: 0, to: data.count, by: 512) where Bool.random(using: &generator) {
          let part = Array(data[start..<min(start + 512, data.count)])
          RecordingFile.apply(.write(offset: offset + UInt64(start), bytes: part), to: &bytes)
        }
      } else {
        RecordingFile.apply(operation, to: &bytes)
      }
    }
    return bytes
  }
}
