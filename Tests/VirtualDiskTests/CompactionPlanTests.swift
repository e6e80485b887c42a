import Simulation
import Storage
import TestSupport
import Testing
import VHD
import VHDX
import VirtualDisk

/// What a dry run tells is what the run then does, to the byte; and a packed file has no room that nothing uses.
@Suite("Plans of compactions")
struct CompactionPlanTests {
  typealias Chain = CompactionTests.Chain

  /// A chain of any kind with random contents, whose leaf lies in its file as no writer of ours would put it.
  private static func chain(
    _ kind: ChainKind, _ generator: inout SeededGenerator, movesStructures: Bool
  ) throws -> (chain: Chain, shape: DiskShape) {
    var shape = DiskShape(kind, &generator)
    if kind.parentCount > 0 { shape.isFixed = false }
    if shape.isVHD { shape.isFixed = false }
    var chain = try Chain(shape)
    for layer in 0...kind.parentCount {
      if layer > 0 { try chain.addChild(shape) }
      let disk = try chain.open()
      let sectors = shape.size / shape.sectorSize
      for step in 0..<Int.random(in: 0...24, using: &generator) {
        let start = Int.random(in: 0..<sectors, using: &generator)
        let most = min(sectors - start, 2 * shape.blockSize / shape.sectorSize)
        let count = Int.random(in: 1...max(most, 1), using: &generator) * shape.sectorSize
        let offset = start * shape.sectorSize
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: try CompactionTests.write(disk, offset, [UInt8](repeating: 0, count: count))
        case 1: try disk.zero(at: UInt64(offset), length: UInt64(count))
        default: try CompactionTests.write(disk, offset, count, seed: UInt64(step + 1))
        }
      }
      try disk.finishWriting()
    }
    if Int.random(in: 0..<4, using: &generator) > 0, !shape.isFixed {
      chain.files[0] = RecordedFile(
        try ScatteredLayout.apply(
          chain.files[0].contents, isVHD: shape.isVHD, movesStructures: movesStructures,
          seed: generator.next()))
    }
    return (chain, shape)
  }

  @Test(arguments: ChainKind.allCases)
  func planIsWhatIsDone(_ kind: ChainKind) throws {
    for seed in 0..<UInt64(60) {
      var generator = SeededGenerator(seed: seed)
      // Whatever lies among blocks stays there, and so may gaps in front of it.
      let movesStructures = seed % 2 == 1
      let (chain, shape) = try CompactionPlanTests.chain(kind, &generator, movesStructures: movesStructures)
      let mode = Int.random(in: 0...4, using: &generator)
      var free: [Range<Int>] = []
      if Bool.random(using: &generator) {
        let start = Int.random(in: 0..<shape.size / 4096, using: &generator) * 4096
        free = [start..<min(start + 3 * shape.blockSize, shape.size)]
      }
      let compacting = Compacting(
        mode, free: free, batch: Int.random(in: 1...4, using: &generator) * shape.blockSize)
      let what: Comment = "\(kind), seed \(seed), \(shape), mode \(mode)"
      let disk = try chain.open()
      var expected = try CompactionTests.contents(disk)
      let before = (chain.files[0].operationCount, chain.files[0].contents.size)
      let (plan, zeroed) = try compacting.plan(disk)
      #expect(chain.files[0].operationCount == before.0, what)
      for range in zeroed { for index in range { expected[index] = 0 } }
      let outcome = try compacting.run(plan, disk)
      if !plan.hasWork { #expect(chain.files[0].operationCount == before.0, what) }
      #expect(outcome.releasedBlocks == plan.releasedCount, what)
      #expect(outcome.movedBlocks == UInt64(plan.packing.moves.count), what)
      #expect(outcome.movedBytes == plan.packing.movedBytes, what)
      #expect(outcome.trimmedBytes == plan.trimmedBytes, what)
      #expect(chain.files[0].contents.size == plan.packing.fileSize, what)
      #expect(plan.packing.fileSize <= max(before.1, (before.1 + 0xFFFFF) & ~0xFFFFF), what)
      let after = try chain.open()
      #expect(try CompactionTests.contents(after) == expected, what)
      #expect(try after.validateLeaf().all.isEmpty, what)
      // Another run finds what this one left, and nothing to do.
      let again = try compacting.plan(after).plan
      #expect(again.hasWork == false, what)
      #expect(again.packing.unusedBytes == plan.packing.unusedBytes, what)
      #expect(again.packing.obstacle == plan.packing.obstacle, what)
      guard !shape.isFixed, mode != 2, !movesStructures else { continue }
      var isAligned = false
      if case .alignment = plan.packing.obstacle { isAligned = true }
      #expect(plan.packing.unusedBytes == 0 || isAligned, what)
    }
  }
}
