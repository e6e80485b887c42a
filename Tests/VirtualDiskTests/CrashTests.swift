import Simulation
import TestSupport
import Testing

@Suite("What a power cut leaves")
struct CrashTests {
  static let size = ModelledDisk.defaultSize

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
      var model = try ModelledDisk.chain(kind, seed: seed)
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
