import Simulation
import Storage
import SystemPackage
import TestSupport
import Testing

/// The Nth operation on the host file fails, N from the first to the last of a history, in steps that keep this short;
/// `Simulator faults` tries other histories and places.
@Suite("When the host fails")
struct FaultTests {
  /// Writes, zeroing, flushes and closes of every sort, and background work between them.
  static func history(_ shape: DiskShape) -> History {
    let block = shape.blockSize
    let actions: [Action] = [
      .write(offset: 4096, length: 8192), .flush, .write(offset: block - 4096, length: 20_000),
      .write(offset: block + 77, length: 1000), .zero(offset: 8192, length: 4096), .flush,
      .zero(offset: block, length: block), .write(offset: 2 * block - 512, length: 1024), .maintain,
      .read(offset: 0, length: 2 * block), .close, .write(offset: 0, length: 4096),
      .zero(offset: 0, length: block), .flush, .write(offset: block, length: block), .reopen,
      .write(offset: 512, length: 512),
    ]
    return History(
      shape: shape, steps: actions.enumerated().map { Step($1, seed: UInt64($0 + 1)) })
  }

  /// Small disks of few blocks, so that a whole one is looked at often.
  static func shape(_ kind: ChainKind) -> DiskShape {
    DiskShape(
      isVHD: kind.isVHD, isFixed: kind.isFixed, size: kind.isVHD ? 3 * 65536 - 1024 : (2 << 20) + 8192,
      blockSize: kind.isVHD ? 65536 : 1 << 20, sectorSize: kind == .child4KVHDX ? 4096 : 512)
  }

  /// Parents with data, and for every other fault a log to be replayed.
  static func before(_ kind: ChainKind, _ shape: DiskShape, isKilled: Bool) -> [Step] {
    var steps: [Step] = []
    for level in 0..<kind.parentCount {
      steps.append(Step(.write(offset: 4096 * (level + 1), length: 40_000), seed: UInt64(20 + level)))
      steps.append(Step(.child(blockSize: shape.blockSize, growth: 0), seed: 1))
    }
    guard isKilled else { return steps }
    return steps + [
      Step(.write(offset: shape.blockSize - 4096, length: 12_000), seed: 30), Step(.flush, seed: 1),
      Step(.kill, seed: 1),
    ]
  }

  @Test("nothing written before is lost, and the file stays sound", arguments: ChainKind.allCases)
  func eachOperationFails(_ kind: ChainKind) throws {
    let shape = FaultTests.shape(kind)
    var failures = 0
    for (index, fault) in FaultKind.all(kind).enumerated() {
      let before = FaultTests.before(kind, shape, isKilled: index % 2 == 1)
      var sweep = try FaultSweep(before: before, FaultTests.history(shape), fault)
      #expect(sweep.count > 3, "the history is too short to show anything")
      // Each sort of fault begins elsewhere, so that together they meet them all.
      let step = max(1, sweep.count / 3)
      for number in stride(from: index % step, to: sweep.count, by: step) {
        guard let finding = sweep.run(number) else { continue }
        Issue.record("\(kind), \(finding)")
        failures += 1
        if failures > 3 { return }
      }
    }
  }

  @Test("a new image that cannot be made says why", arguments: ChainKind.allCases)
  func creationFails(_ kind: ChainKind) throws {
    let shape = FaultTests.shape(kind)
    let parent =
      kind.parentCount > 0
      ? try shape.makeFile(size: shape.size, blockSize: shape.blockSize, parent: nil).contents : nil
    for fault in FaultKind.all {
      var number = 0
      while true {
        let double = RecordedFile()
        double.follow(fault.plan(number))
        var failure: ImageError?
        do {
          try shape.makeFile(double, size: shape.size, blockSize: shape.blockSize, parent: parent)
        } catch let error as ImageError {
          failure = error
        }
        if double.failedCount == 0 {
          #expect(failure == nil)
          break
        }
        #expect(failure?.errno == fault.code, "\(kind), \(fault), operation \(number)")
        number += 1
      }
    }
  }
}
