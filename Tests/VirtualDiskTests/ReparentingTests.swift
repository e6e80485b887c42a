import Simulation
import Storage
import TestSupport
import Testing
import VHD
import VHDX

@testable import VirtualDisk

/// A child that gets another parent, with the record of its changes: cut off after each change and each flush of either.
@Suite("Another parent for a tracked child")
struct ReparentingTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var isVHD: Bool
    var isSoleWriter: Bool
    var testDescription: String { (isVHD ? "VHD" : "VHDX") + (isSoleWriter ? ", sole writer" : "") }
  }

  static let cases = [
    Case(isVHD: false, isSoleWriter: false), Case(isVHD: true, isSoleWriter: false),
    Case(isVHD: true, isSoleWriter: true),
  ]

  /// A child in some state, in memory.
  private struct State {
    var child: SparseBytes
    var modified: Int64
    var record: SparseBytes
    var boot: GUID
  }

  private struct Flaw: Error, CustomStringConvertible { let description: String }

  private struct Family {
    static let size = 3 << 20
    let item: Case
    let old = RecordedFile()
    let new = RecordedFile()
    let start: State
    let contents: [UInt8]
    let point: String
    let answer: Set<UInt64>

    init(_ item: Case) throws {
      self.item = item
      for parent in [old, new] {
        try CrashChain.create(
          item.isVHD ? .dynamicVHD : .dynamicVHDX, size: Family.size, parent: nil, in: parent)
        let disk = try VirtualDisk(files: [HostFile(path: "parent", double: parent)])
        try Family.write(disk, seed: 1, count: 100_000, at: 300_000)
        try disk.finishWriting()
      }
      let child = RecordedFile()
      let record = RecordedFile()
      let boot = GUID.random()
      try CrashChain.create(
        item.isVHD ? .childVHD : .childVHDX, size: Family.size, parent: old, in: child)
      let disk = try Family.open(child, over: old, Family.given(record, boot, item))
      try disk.setTracking(.on)
      try Family.write(disk, seed: 2, count: 50_000, at: 1_000_000)
      point = try disk.makePoint("monday").id
      try Family.write(disk, seed: 3, count: 20_000, at: 2_000_000)
      try disk.finishWriting()
      start = State(child: child.contents, modified: child.modified, record: record.contents, boot: boot)
      let again = try Family.open(child, over: old, Family.given(record, boot, item))
      contents = try Family.read(again)
      answer = try Family.units(again.changes(since: point))
    }

    static func write(_ disk: VirtualDisk, seed: UInt64, count: Int, at offset: UInt64) throws {
      let bytes = pattern(seed: seed, count: count)
      _ = try bytes.withUnsafeBytes { try disk.write($0, at: offset, mayWait: true) }
    }

    static func read(_ disk: VirtualDisk) throws -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: size)
      _ = try bytes.withUnsafeMutableBytes { try disk.read(into: $0, at: 0, mayWait: true) }
      return bytes
    }

    static func units(_ changes: DiskChanges) throws -> Set<UInt64> {
      var units: Set<UInt64> = []
      var position: UInt64 = 0
      while position < UInt64(size), let range = try changes.next(from: position, end: UInt64(size)) {
        units.formUnion(range.lowerBound / 4096...(range.upperBound - 1) / 4096)
        position = range.upperBound
      }
      return units
    }

    static func given(_ record: RecordedFile, _ boot: GUID, _ item: Case) -> GivenTracking {
      var options = TrackingOptions()
      options.isSoleWriter = item.isSoleWriter
      options.regionShift = 18
      return GivenTracking(HostFile(path: "record", double: record), boot: boot, options: options)
    }

    static func hostFile(_ child: RecordedFile) -> HostFile {
      HostFile(path: "child", double: child, identity: FileIdentity(device: 7, inode: 1000))
    }

    static func open(
      _ child: RecordedFile, over parent: RecordedFile, _ tracking: GivenTracking?
    ) throws -> VirtualDisk {
      try VirtualDisk(
        files: [hostFile(child), HostFile(path: "parent", double: parent, isWritable: false)],
        tracking: tracking)
    }

    /// Gives the child the new parent.
    func run(_ child: RecordedFile, _ record: RecordedFile, _ boot: GUID) throws(ImageError) {
      let parent = try Layer(HostFile(path: "new", double: new, isWritable: false))
      try Layer(Family.hostFile(child)).replaceParent(
        parent, relativePath: #".\new"#, absolutePath: "/images/new",
        Family.given(record, boot, item).tracking)
    }

    /// Whether the child has the new parent. What else must be so in every state is looked at.
    @discardableResult
    func look(_ state: State, isDone: Bool = false) throws -> Bool {
      let child = RecordedFile(state.child, modified: state.modified)
      let layer = try Layer(Family.hostFile(child))
      let named = layer.recordedParent?.identifiers ?? []
      guard
        let parent = try [new, old].first(where: {
          named.contains(try Layer(HostFile(path: "parent", double: $0)).identifierForChildren)
        })
      else { throw Flaw(description: "it names a parent that there is not") }
      let record = Family.given(RecordedFile(state.record), state.boot, item)
      let disk = try Family.open(child, over: parent, record)
      let findings = try disk.validateLeaf().all
      if let finding = findings.first(where: { $0.severity == .damage || isDone }) {
        throw Flaw(description: "\(finding)")
      }
      guard try Family.read(disk) == contents else { throw Flaw(description: "it reads wrong") }
      if let refusal = try disk.trackingFacts().refusal {
        // Not closed; or, when that was written without anybody's word for it, disowned.
        let isDoubtful = refusal.errno.rawValue == 116 || refusal.errno == .badMessage
        guard !isDone, item.isVHD, !item.isSoleWriter, isDoubtful else {
          throw Flaw(description: "its record is refused: \(refusal)")
        }
      } else {
        let found = try Family.units(disk.changes(since: point))
        guard isDone ? found == answer : found.isSuperset(of: answer) else {
          throw Flaw(description: "its record answers otherwise than before")
        }
      }
      return parent === new
    }
  }

  @Test(
    "Wherever it ends the child reads the same and no change is missed; done, all is as before",
    arguments: cases)
  func cutOff(_ item: Case) throws {
    let family = try Family(item)
    #expect(try !family.look(family.start, isDone: true))
    var changes = 0
    var isDone = false
    while !isDone {
      let power = PowerSupply()
      let child = RecordedFile(family.start.child, modified: family.start.modified)
      let record = RecordedFile(family.start.record)
      for file in [child, record] { file.connect(power) }
      power.last(for: changes)
      do throws(ImageError) {
        try family.run(child, record, family.start.boot)
        // That the record could not be closed is no reason to fail: it is a killed program's then.
        isDone = !power.isGone
      } catch {
        #expect(error.chain.contains { $0.errno == .ioError }, "\(error)")
      }
      let killed = State(
        child: child.contents, modified: child.modified, record: record.contents, boot: family.start.boot)
      do {
        if isDone {
          #expect(try family.look(killed, isDone: true))
          #expect(child.pendingCount == 0 && record.pendingCount == 0)
          break
        }
        try family.look(killed)
        // It can be done again.
        let again = RecordedFile(killed.child, modified: killed.modified)
        let kept = RecordedFile(killed.record)
        try family.run(again, kept, killed.boot)
        let done = State(
          child: again.contents, modified: again.modified, record: kept.contents, boot: killed.boot)
        #expect(try family.look(done, isDone: !item.isVHD || item.isSoleWriter))
        var generator = SeededGenerator(seed: UInt64(changes) &* 31 &+ 7)
        for _ in 0..<8 {
          try family.look(
            State(
              child: child.crashState(&generator), modified: killed.modified,
              record: record.crashState(&generator), boot: .random()))
        }
      } catch { throw Flaw(description: "after \(changes) changes: \(error)") }
      changes += 1
    }
    #expect(changes > 8)
  }
}
