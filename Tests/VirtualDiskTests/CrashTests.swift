import Storage
import Synchronization
import TestSupport
import Testing
import VHD
import VHDX

@testable import VirtualDisk

/// What kind of chain a run of the simulation works on.
enum ChainKind: String, CaseIterable, Sendable {
  case fixedVHDX, dynamicVHDX, childVHDX, child4KVHDX, grandchildVHDX
  case fixedVHD, dynamicVHD, childVHD, grandchildVHD

  var isVHD: Bool { self == .fixedVHD || self == .dynamicVHD || self == .childVHD || self == .grandchildVHD }
  var isFixed: Bool { self == .fixedVHDX || self == .fixedVHD }
  var parentCount: Int {
    switch self {
    case .childVHDX, .child4KVHDX, .childVHD: 1
    case .grandchildVHDX, .grandchildVHD: 2
    default: 0
    }
  }
}

@Suite("What a power cut leaves")
struct CrashTests {
  static let size = 5 << 20

  /// Makes a chain with known contents: parents with data here and there, and an empty leaf (a fixed one is zero).
  static func chain(_ kind: ChainKind, seed: UInt64) throws -> ModelledDisk {
    var model = try ModelledDisk(
      leaf: try file(kind, parent: nil), parents: [], size: size, contents: .init(repeating: 0, count: size))
    var parents: [SparseBytes] = []
    for level in 0..<kind.parentCount {
      try model.write(pattern(seed: seed &+ UInt64(level), count: 600_000), at: 4096 * (100 + level * 77))
      try model.write(pattern(seed: seed &+ 9, count: 8192), at: 3 << 20)
      try model.finish()
      parents.insert(model.file.contents, at: 0)
      model = try ModelledDisk(
        leaf: try file(kind, parent: parents[0]), parents: parents, size: size, contents: model.now)
    }
    return model
  }

  /// A new file of the kind, on `parent` if there is one.
  static func file(_ kind: ChainKind, parent: SparseBytes?) throws -> RecordedFile {
    let double = RecordedFile()
    let file = HostFile(path: "new", double: double)
    let above = parent.map { HostFile(path: "parent", double: RecordedFile($0)) }
    if kind.isVHD {
      let parent = try above.map {
        VHDParent(
          uniqueID: try VHDImage($0).footer.uniqueID, timeStamp: 0, relativePath: ".\\parent.vhd",
          absolutePath: "C:\\parent.vhd")
      }
      try VHDImage.create(
        file,
        VHDCreation(
          kind: kind.isFixed ? .fixed(reserve: false) : parent.map { .differencing(parent: $0) } ?? .dynamic,
          virtualSize: UInt64(size), blockSize: 512 << 10))
    } else {
      let parent = try above.map {
        VHDX.ParentLocator(linkage: try VHDXImage($0).dataWriteGUID, relativePath: ".\\parent.vhdx")
      }
      try VHDXImage.create(
        file,
        VHDXCreation(
          kind: kind.isFixed
            ? .fixed(reserve: false) : parent.map { .differencing(parent: $0, inherited: []) } ?? .dynamic,
          virtualSize: UInt64(size), blockSize: 1 << 20, logicalSectorSize: kind == .child4KVHDX ? 4096 : 512,
          physicalSectorSize: 4096))
    }
    return double
  }

  /// One random step; answers a foreign sector in a state that a power cut during it could have left.
  static func step(_ model: inout ModelledDisk, _ generator: inout SeededGenerator) throws -> Int? {
    let place = Int.random(in: 0..<size, using: &generator)
    switch Int.random(in: 0..<20, using: &generator) {
    case 0..<9:
      // Sectors, near a few places so that writes meet.
      let start = min(
        place / (1 << 19) * (1 << 19) + Int.random(in: 0..<40, using: &generator) * 4096, size - (1 << 17))
      let count = Int.random(in: 1...16, using: &generator) * 4096
      try model.write(pattern(seed: generator.next(), count: count), at: start)
    case 9..<12:
      // Any bytes, sectors cut.
      let count = min(Int.random(in: 1...5000, using: &generator), size - place)
      try model.write(pattern(seed: generator.next(), count: count), at: place)
    case 12:
      // A whole block at once.
      try model.write(pattern(seed: generator.next(), count: 1 << 20), at: (place >> 20) << 20)
    case 13:
      let count = min(Int.random(in: 1...70_000, using: &generator), size - place)
      try model.write([UInt8](repeating: 0, count: count), at: place)
    case 14..<16:
      try model.zero(at: place, length: min(Int.random(in: 1...300_000, using: &generator), size - place))
    case 16:
      try model.zero(
        at: (place >> 20) << 20,
        length: min((1 << 20) * Int.random(in: 1...2, using: &generator), size - ((place >> 20) << 20)))
    case 17, 18: return try model.flush()
    default: return try model.finish()
    }
    return try model.firstForeignSectorInSamples()
  }

  @Test("Every state reads old, new or zero, and what was flushed", arguments: ChainKind.allCases)
  func randomHistory(_ kind: ChainKind) throws {
    for seed in UInt64(1)...4 {
      var generator = SeededGenerator(seed: seed &* 1000 &+ UInt64(kind.rawValue.count))
      var model = try CrashTests.chain(kind, seed: seed)
      for number in 0..<60 {
        let during = try CrashTests.step(&model, &generator)
        #expect(during == nil, "\(kind) seed \(seed) during step \(number): sector \(during ?? -1)")
        if during != nil { return }
        if number % 3 == 0 {
          let state = model.file.crashState(&generator)
          let foreign = try model.firstForeignSector(in: state)
          #expect(foreign == nil, "\(kind) seed \(seed) step \(number): sector \(foreign ?? -1)")
          if foreign != nil { return }
          if number % 15 == 0 {
            // Life goes on after the power cut, a replay included.
            try model.adopt(state)
          }
        }
        if number % 10 == 5 {
          let difference = try model.firstDifference()
          #expect(difference == nil, "\(kind) seed \(seed) step \(number): byte \(difference ?? -1)")
        }
      }
      try model.finish()
      try model.reopen()
      let difference = try model.firstDifference()
      #expect(difference == nil, "\(kind) seed \(seed), reopened: byte \(difference ?? -1)")
    }
  }
}
