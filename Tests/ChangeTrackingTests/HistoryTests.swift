import Storage
import TestSupport
import Testing

@testable import ChangeTracking

@Suite("Change tracking")
struct HistoryTests {
  static let size: UInt64 = 3 << 30

  static func step(_ image: inout TrackedImage, _ number: Int, _ generator: inout SeededGenerator) throws {
    switch Int.random(in: 0..<20, using: &generator) {
    case 0..<12:
      let offset = UInt64.random(in: 0..<(size - 1), using: &generator)
      let near = Bool.random(using: &generator) ? offset % (40 << 20) : offset
      let length = ([1, 512, 4096, 65536, 20 << 20] as [UInt64]).randomElement(using: &generator) ?? 1
      try image.write(near, min(UInt64.random(in: 1...length, using: &generator), size - near))
    case 12, 13: if image.changed.count < 9 { try image.point("p\(number)") }
    case 14:
      if !image.changed.isEmpty { try image.drop(Int.random(in: 0..<image.changed.count, using: &generator)) }
    case 15: try image.tracker.clearQuietMarks(drain: {})
    case 16: try image.close()
    case 17:
      try image.close()
      try image.reopen()
    default: break
    }
  }

  @Test(
    "Without a crash, and after a kill, the answer is what was written, in whole 4 KiB",
    arguments: UInt64(1)...6)
  func exact(_ seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var image = try TrackedImage(diskSize: HistoryTests.size)
    for number in 0..<150 {
      try HistoryTests.step(&image, number, &generator)
      if number % 25 == 24 {
        #expect(try image.problem(image.tracker, isExact: true) == nil, "step \(number)")
      }
      // Ended by a signal: what was written to files is there, and nothing else.
      if number % 40 == 13 {
        try image.reopen()
        #expect(try image.problem(image.tracker, isExact: true) == nil, "killed at step \(number)")
      }
    }
    #expect(try image.problem(image.tracker, isExact: true) == nil)
  }

  @Test("After a power cut nothing is missing", arguments: UInt64(1)...12)
  func powerCut(_ seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed &* 77)
    var image = try TrackedImage(diskSize: HistoryTests.size)
    for number in 0..<120 {
      try HistoryTests.step(&image, number, &generator)
      guard number % 4 == 3 else { continue }
      let state = image.file.crashState(&generator)
      let boot = GUID.random()
      let file = RecordedFile(state)
      let after = try TrackedImage.open(file, image.image, boot)
      #expect(try image.problem(after, isExact: false) == nil, "power cut after step \(number)")
      if number % 20 == 19 {
        // Life goes on there; a second cut while it begins changes nothing.
        image.file = file
        image.boot = boot
        image.tracker = after
        image.isInSession = false
        file.sample(SeededGenerator(seed: seed))
        // The image gets its new ids when the session record is durable, not before.
        let before = image.image
        try image.begin()
        for second in file.takeSamples() {
          let again = try TrackedImage.open(RecordedFile(second), before, .random())
          #expect(try image.problem(again, isExact: false) == nil, "second power cut after step \(number)")
        }
        file.clearSamples()
        // What is presumed to have changed stays so.
        for index in image.changed.indices {
          image.changed[index].units = try TrackedImage.answer(
            image.tracker, since: image.changed[index].id, diskSize: HistoryTests.size)
        }
      }
    }
  }

  @Test("A point that was made is there after a power cut, and so is what was written before and since")
  func pointIsDurable() throws {
    var generator = SeededGenerator(seed: 3)
    for _ in 0..<60 {
      var image = try TrackedImage(diskSize: HistoryTests.size)
      try image.point("first")
      try image.write(1 << 30, 100_000)
      try image.point("second")
      let state = image.file.crashState(&generator)
      let after = try TrackedImage.open(RecordedFile(state), image.image, .random())
      #expect(after.points.map(\.name) == ["first", "second"])
      #expect(try image.problem(after, isExact: false) == nil)
    }
  }
}
