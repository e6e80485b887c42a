import Storage
import SystemPackage
import TestSupport

/// Which operations of the host fail in a sweep, and how.
package struct FaultKind: Sendable, CustomStringConvertible {
  package var operations: Set<RecordedFile.Operation>
  package var code: Errno
  /// Everything from the chosen one on fails, until the fault is taken away.
  package var lasts = false
  /// A write does its first half.
  package var isHalf = false
  /// The file is the leaf's parent, not the leaf.
  package var isInParent = false

  package init(
    _ operations: Set<RecordedFile.Operation>, _ code: Errno, lasts: Bool = false, isHalf: Bool = false,
    isInParent: Bool = false
  ) {
    self.operations = operations
    self.code = code
    self.lasts = lasts
    self.isHalf = isHalf
    self.isInParent = isInParent
  }

  package var description: String {
    let names = RecordedFile.Operation.allCases.filter { operations.contains($0) }.map(\.rawValue)
    return "\(names.joined(separator: "+")) \(code == .noSpace ? "ENOSPC" : "EIO")"
      + (lasts ? " from there on" : "") + (isHalf ? " half-way" : "") + (isInParent ? " in the parent" : "")
  }

  package func plan(_ number: Int) -> RecordedFile.FaultPlan {
    RecordedFile.FaultPlan(
      operations, first: number, lasts: lasts, isHalf ? .failsHalfWay(code) : .fails(code))
  }

  static let changes: Set<RecordedFile.Operation> = [.write, .resize, .punch, .reserve]

  /// All that the sweeps try on disks of the kind.
  package static func all(_ kind: ChainKind) -> [FaultKind] {
    kind.parentCount == 0 ? all : all + inParents
  }

  /// Reading through, and the parts of sectors that a write leaves to the parent.
  private static let inParents = [
    FaultKind([.read], .ioError, isInParent: true),
    FaultKind([.read], .ioError, lasts: true, isInParent: true),
  ]

  /// On the file that is written.
  package static let all = [
    FaultKind([.read], .ioError),
    FaultKind([.read], .ioError, lasts: true),
    FaultKind([.write, .resize, .punch, .reserve, .flush], .ioError),
    FaultKind([.write, .resize, .punch, .reserve, .flush], .ioError, lasts: true),
    FaultKind(changes, .noSpace),
    FaultKind(changes, .noSpace, lasts: true),
    // A host that finds room for what was written only when it is flushed.
    FaultKind([.flush], .noSpace),
    FaultKind([.write], .ioError, isHalf: true),
    FaultKind([.write], .noSpace, lasts: true, isHalf: true),
  ]
}

/// One history, run again and again, each time with another operation of the host failing.
package struct FaultSweep {
  package let history: History
  package let fault: FaultKind
  private let start: SimulatedDisk
  /// Of the run without a fault: how many operations there are to fail, and the file's size at its end.
  package let count: Int
  private let file: SparseBytes
  package private(set) var totals = Totals()
  private var wasKilled = false

  /// The file whose operations fail.
  private static func faulty(_ disk: SimulatedDisk, _ fault: FaultKind) -> RecordedFile {
    fault.isInParent ? disk.parents.first?.file ?? disk.file : disk.file
  }

  private func faulty(_ disk: SimulatedDisk) -> RecordedFile { FaultSweep.faulty(disk, fault) }

  /// `before`: steps that are done before the operations are counted. Throws what is wrong without any fault.
  package init(before: [Step], _ history: History, _ fault: FaultKind) throws {
    var disk = try SimulatedDisk(history.shape)
    // What power cuts leave without a fault is the simulation's matter.
    disk.looksAtFlushes = false
    for step in before { try disk.perform(step) }
    start = disk
    self.history = history
    self.fault = fault
    var reference = try start.copy()
    FaultSweep.faulty(reference, fault).follow(fault.plan(.max))
    for step in history.steps { try reference.perform(step) }
    // A random history may have no parent yet.
    let hasFile = !fault.isInParent || !reference.parents.isEmpty
    count = hasFile ? FaultSweep.faulty(reference, fault).plannedCount : 0
    try reference.perform(Step(.reopen, seed: 1))
    file = reference.file.contents
  }

  /// Lets operation `number` fail; the error, if something is wrong.
  package mutating func run(_ number: Int) -> String? {
    wasKilled = false
    do {
      var disk = try start.copy()
      disk.totals = Totals()
      defer { totals += disk.totals }
      faulty(disk).follow(fault.plan(number))
      for (index, step) in history.steps.enumerated() {
        do {
          try perform(step, &disk)
        } catch let finding as Finding {
          throw Finding("step \(index + 1) (\(step)): \(finding)")
        }
      }
      faulty(disk).clearFaults()
      try disk.perform(Step(.reopen, seed: 1))
      // What was not flushed is gone with a kill, so that the disk holds something else from there on.
      if !wasKilled { try checkRoom(disk.file.contents) }
      return nil
    } catch {
      return "\(fault), operation \(number): \(error)"
    }
  }

  /// The closed file may hold no more than it would without the failure. It may be longer: while a commit waits for
  /// room, what blocks gave up is not free yet, and new ones go behind the others; that room is free later.
  private func checkRoom(_ found: SparseBytes) throws {
    // Entries take turns in the halves of a log, so that its pages may be others.
    if found.held > file.held + 65536 {
      throw Finding("the closed file holds \(found.held) bytes; without the failure it holds \(file.held)")
    }
    let allowance = UInt64(8 * max(history.shape.blockSize, 1 << 20))
    if found.size > file.size + allowance {
      throw Finding("the closed file has \(found.size) bytes; without the failure it has \(file.size)")
    }
  }

  /// Does a step; where it fails as it may, looks at all that must hold then, and does it again.
  private mutating func perform(_ step: Step, _ disk: inout SimulatedDisk) throws {
    let failedBefore = faulty(disk).failedCount
    let flushFailures = faulty(disk).failedFlushes
    do {
      try disk.perform(step)
    } catch let error as ImageError {
      guard faulty(disk).failedCount > failedBefore else { throw Finding("failed with no fault: \(error)") }
      guard error.errno == fault.code else {
        throw Finding("failed with \(error.errno.rawValue), not \(fault.code.rawValue): \(error)")
      }
      try goOn(after: error, step, &disk, flushFailed: faulty(disk).failedFlushes > flushFailures)
      return
    }
    if faulty(disk).failedFlushes > flushFailures { throw Finding("a flush failed, and nothing was said") }
    if faulty(disk).failedCount > failedBefore { faulty(disk).clearFaults() }
  }

  private mutating func goOn(
    after error: ImageError, _ step: Step, _ disk: inout SimulatedDisk, flushFailed: Bool
  ) throws {
    // What the file holds now, and what a power cut leaves of it.
    var generator = SeededGenerator(seed: step.seed)
    // Copies of the leaf that are looked at have the same parents.
    if fault.isInParent { faulty(disk).clearFaults() }
    try disk.check(disk.file.contents, "after the error")
    for _ in 0..<2 { try disk.check(disk.file.crashState(&generator), "power cut after the error") }
    if flushFailed {
      faulty(disk).clearFaults()
      try refuses(&disk)
      try disk.acceptContents("after a failed flush")
      try disk.perform(Step(.kill, seed: step.seed))
      wasKilled = true
    } else {
      if fault.lasts, !fault.operations.contains(.read) {
        try disk.acceptContents("while nothing can be written")
      }
      faulty(disk).clearFaults()
      try disk.acceptContents("after the error")
    }
    do {
      try disk.perform(step)
    } catch let again as ImageError {
      // Where a header could not be written, it is not known what the file holds.
      guard !flushFailed, again.chain.contains(where: { $0.errno == fault.code }) else {
        throw Finding("failed again, with no fault: \(again); first: \(error)")
      }
      try refuses(&disk)
      try disk.perform(Step(.kill, seed: step.seed))
      wasKilled = true
      try disk.perform(step)
      if FaultSweep.mustNotRefuse(fault) { throw Finding("refuses for good: \(again); first: \(error)") }
    }
  }

  /// A full host is no reason to refuse for good.
  private static func mustNotRefuse(_ fault: FaultKind) -> Bool {
    fault.code == .noSpace || fault.operations == [.read]
  }

  /// After a failed flush nothing is known of what was written: no write and no flush may succeed.
  private func refuses(_ disk: inout SimulatedDisk) throws {
    for action in [Action.write(offset: 0, length: 4096), .flush, .close] {
      do {
        try disk.perform(Step(action, seed: 3))
      } catch let error as ImageError {
        guard error.errno == fault.code || error.errno == .readOnlyFileSystem else {
          throw Finding("after a failed flush, \(action) failed with \(error.errno.rawValue): \(error)")
        }
        continue
      }
      throw Finding("after a failed flush, \(action) succeeded")
    }
  }
}
