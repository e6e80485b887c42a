import Storage
import TestSupport
import Testing

@testable import VHDX

@Suite("Free room of a VHDX file")
struct SpaceMapTests {
  static let mebibyte = VHDXFormat.mebibyte

  @Test("A place that was chosen beforehand is had only where all of it is free, and once")
  func claiming() throws {
    let file = HostFile(path: "space", double: RecordedFile())
    try file.resize(to: 10 * SpaceMapTests.mebibyte)
    var space = SpaceMap(fileSize: 10 * SpaceMapTests.mebibyte)
    var use = SpaceUse(fileSize: 10 * SpaceMapTests.mebibyte)
    func mebibytes(_ range: Range<UInt64>) -> Range<UInt64> {
      (range.lowerBound * SpaceMapTests.mebibyte)..<(range.upperBound * SpaceMapTests.mebibyte)
    }
    for range in [0..<4, 6..<7] as [Range<UInt64>] { _ = use.add(mebibytes(range)) }
    space.adopt(used: use)
    for (range, isFree) in [(3..<5, false), (5..<7, false), (4..<6, true), (5..<6, false), (9..<12, true)]
      as [(Range<UInt64>, Bool)]
    {
      #expect(try space.claim(mebibytes(range), file: file) == isFree, "\(range)")
    }
    #expect(try file.size() >= 12 * SpaceMapTests.mebibyte)
  }

  @Test("Room goes to one block at a time, whatever is released and used again")
  func random() throws {
    let file = HostFile(path: "space", double: RecordedFile())
    try file.resize(to: 40 * SpaceMapTests.mebibyte)
    var space = SpaceMap(fileSize: 40 * SpaceMapTests.mebibyte)
    var use = SpaceUse(fileSize: 40 * SpaceMapTests.mebibyte)
    // In use when opened: 0–9, 20, 30–39.
    for range in [0..<10, 20..<21, 30..<40] as [Range<UInt64>] {
      let isNew = use.add(
        (range.lowerBound * SpaceMapTests.mebibyte)..<(range.upperBound * SpaceMapTests.mebibyte))
      #expect(isNew)
    }
    #expect(use.add((20 * SpaceMapTests.mebibyte)..<(21 * SpaceMapTests.mebibyte)) == false)
    space.adopt(used: use)
    var owned: [Range<UInt64>] = []
    var generator = SeededGenerator(seed: 12)
    let length = 2 * SpaceMapTests.mebibyte
    for number in UInt64(0)..<400 {
      if Bool.random(using: &generator) || owned.isEmpty {
        if space.mayPrepareHoles { space.addReady(space.takeHoles(length, count: 3), length: length) }
        let place = try space.takeReady() ?? space.allocateAtEnd(length, file: file)
        let range = place..<(place + length)
        #expect(!owned.contains { $0.overlaps(range) }, "step \(number)")
        #expect(range.lowerBound >= 10 * SpaceMapTests.mebibyte)
        #expect(!range.overlaps((20 * SpaceMapTests.mebibyte)..<(21 * SpaceMapTests.mebibyte)))
        #expect(!range.overlaps((30 * SpaceMapTests.mebibyte)..<(40 * SpaceMapTests.mebibyte)))
        #expect(range.upperBound <= space.fileSize)
        owned.append(range)
      } else {
        let range = owned.remove(at: Int.random(in: 0..<owned.count, using: &generator))
        space.release(range, epoch: number, change: number)
        #expect(
          space.takeReclaimable(epoch: number + 1, committed: number).isEmpty, "an operation may be inside")
        #expect(space.takeReclaimable(epoch: number + 2, committed: number - 1).isEmpty, "not durable")
        for free in space.takeReclaimable(epoch: number + 2, committed: number) { space.addFree(free) }
      }
    }
    // Free room at the end can be cut, and nothing that is in use.
    let last = owned.map(\.upperBound).max() ?? 0
    if let size = space.cut() { #expect(size == max(last, 40 * SpaceMapTests.mebibyte)) }
  }
}
