import Storage
import TestSupport
import VirtualDisk

/// A history that was done once, with the record of its file and the model of what its disk must read as.
package struct CrashRecord {
  let chain: CrashChain
  let window: DiskWindow
  /// The window's contents before the first step.
  let initial: [UInt8]
  let model: SectorVersions
  let steps: [CrashStep]
  package let epochs: [RecordedEpoch]
  /// Findings of the file before the first step, which no later state is blamed for.
  let known: Set<String>
  /// For each step, the last one whose effect is durable when it returns.
  private let durableAfter: [Int]
  /// The last session was closed.
  let endsClosed: Bool

  /// Does `steps` on the chain. `contents`: what the window reads as, if that is known.
  init(_ chain: CrashChain, window: DiskWindow, contents: [UInt8]? = nil, _ steps: [CrashStep], seed: UInt64)
    throws
  {
    self.chain = chain
    self.window = window
    self.steps = steps
    var disk = try chain.open()
    known = Set(try disk.validateLeaf().all.filter { $0.severity == .damage }.map(\.sentence))
    let initial = try contents ?? CrashRecord.read(disk, window)
    self.initial = initial
    var model = SectorVersions(initial)
    var isClosed = false
    var durable: [Int] = []
    chain.leaf.record()
    if !chain.isVHD, CrashRecord.namesLog(chain.leaf.contents) {
      try disk.beginWriting()
      guard !CrashRecord.namesLog(chain.leaf.contents) else {
        throw TestFailure("a header names the log that was replayed")
      }
    }
    for (number, step) in steps.enumerated() {
      chain.leaf.begin(operation: number)
      durable.append(step.isDurable ? number : durable.last ?? .min)
      switch step {
      case .write(let offset, let count):
        let bytes = pattern(seed: seed &* 1_000_003 &+ UInt64(number), count: count)
        model.write(bytes, at: window.place(of: offset), operation: number)
        try disk.write(bytes, at: offset)
      case .zeros(let offset, let count):
        let bytes = [UInt8](repeating: 0, count: count)
        model.write(bytes, at: window.place(of: offset), operation: number)
        try disk.write(bytes, at: offset)
      case .zero(let offset, let length):
        model.write([UInt8](repeating: 0, count: length), at: window.place(of: offset), operation: number)
        try disk.zero(at: UInt64(offset), length: UInt64(length))
      case .flush: try disk.flush()
      case .finish, .finishWhileWriting:
        if case .finishWhileWriting(let offset, let count) = step {
          let bytes = pattern(seed: seed &* 1_000_003 &+ UInt64(number), count: count)
          model.write(bytes, at: window.place(of: offset), operation: number)
          let disk = disk
          chain.interleaved.on(.flush, .after) { try disk.write(bytes, at: offset) }
        }
        // A process that only read has nothing to close; what a killed one left is as it was.
        let closes = disk.isWriting
        try disk.finishWriting()
        guard chain.interleaved.waitingCount == 0 else { throw TestFailure("a clean close flushed nothing") }
        // A write in the middle may have begun the next session: then this was no more than a flush.
        let isOver = !disk.isWriting
        if case .finishWhileWriting = step, !isOver { durable[durable.count - 1] = number - 1 }
        if closes, isOver { isClosed = true }
        guard !closes || !isOver || chain.leaf.pendingCount == 0 else {
          throw TestFailure(
            "\(chain.leaf.pendingCount) changes were not flushed when the clean close returned")
        }
      case .reopen: disk = try chain.open()
      case .compact(let compacting):
        if disk.isWriting { try disk.finishWriting() }
        // What a killed program wrote is made durable first, as by any session.
        try disk.flush()
        let (plan, zeroed) = try compacting.plan(disk)
        for range in zeroed {
          model.write(
            [UInt8](repeating: 0, count: range.count), at: window.place(of: range.lowerBound),
            operation: number)
        }
        try compacting.run(plan, disk)
        guard chain.leaf.pendingCount == 0 else {
          throw TestFailure("a compaction left changes that were not flushed")
        }
        isClosed = true
      }
      if disk.isWriting { isClosed = false }
    }
    chain.leaf.begin(operation: steps.count)
    self.model = model
    durableAfter = durable
    endsClosed = isClosed
    epochs = chain.leaf.epochs
    if let change = CrashRecord.firstEarlyChange(in: epochs, isVHD: chain.isVHD) {
      throw TestFailure("the first change of the session is a \(change), not a header with new write ids")
    }
  }

  /// Whether either header of a VHDX names a log.
  private static func namesLog(_ file: SparseBytes) -> Bool {
    [UInt64(64 << 10), 128 << 10].contains { header in
      file.bytes(at: header, count: 4) == Array("head".utf8)
        && file.bytes(at: header + 48, count: 16).contains { $0 != 0 }
    }
  }

  /// What is changed in a VHDX before a header with new write ids is durable.
  private static func firstEarlyChange(in epochs: [RecordedEpoch], isVHD: Bool) -> String? {
    guard !isVHD, let first = epochs.first else { return nil }
    let headers: Range<UInt64> = 64 << 10..<192 << 10
    return zip(first.entries, first.outline).first { entry, _ in
      let range = entry.change.range
      return range.isEmpty || !(headers.contains(range.lowerBound) && range.upperBound <= headers.upperBound)
    }?.1
  }

  /// The last step whose effect was durable when `operation` began.
  func durable(before operation: Int) -> Int {
    operation > 0 && !durableAfter.isEmpty ? durableAfter[min(operation, durableAfter.count) - 1] : .min
  }

  /// What the window reads as.
  static func read(_ disk: VirtualDisk, _ window: DiskWindow) throws(ImageError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xEE, count: window.count)
    try read(disk, window, into: &bytes)
    return bytes
  }

  static func read(_ disk: VirtualDisk, _ window: DiskWindow, into bytes: inout [UInt8]) throws(ImageError) {
    let result: Result<Void, ImageError> = bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(ImageError) in
        for (range, start) in zip(window.ranges, window.starts) {
          let part = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<(start + range.count)])
          _ = try disk.read(into: part, at: UInt64(range.lowerBound), mayWait: true)
        }
      }
    }
    try result.get()
  }
}
