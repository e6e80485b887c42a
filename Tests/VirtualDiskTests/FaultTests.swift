import Simulation
import Storage
import SystemPackage
import TestSupport
import Testing

/// The Nth operation on the host file fails, N upward until a run completes without meeting it.
@Suite("When the host fails")
struct FaultTests {
  static let cases: [(ChainKind, Errno)] =
    ChainKind.allCases.map { ($0, .ioError) }
    + [.dynamicVHDX, .childVHDX, .dynamicVHD, .childVHD].map { ($0, .noSpace) }

  /// The same history each time: writes, zeroing, flushes and closes of every sort. Stops at the first error.
  static func history(_ model: inout ModelledDisk) throws {
    try model.write(pattern(seed: 1, count: 8192), at: 4096)
    try model.flush()
    try model.write(pattern(seed: 2, count: 300_000), at: (1 << 20) - 4096)
    try model.write(pattern(seed: 3, count: 1000), at: (3 << 20) + 77)
    try model.zero(at: 8192, length: 4096)
    try model.flush()
    try model.zero(at: 1 << 20, length: 1 << 20)
    try model.write(pattern(seed: 4, count: 1 << 20), at: 4 << 20)
    try model.finish()
    try model.write(pattern(seed: 5, count: 512), at: 2 << 20)
    try model.write(pattern(seed: 6, count: 4096), at: 0)
    try model.finish()
  }

  @Test("nothing written before is lost, and the file stays sound", arguments: FaultTests.cases)
  func eachOperationFails(_ kind: ChainKind, _ code: Errno) throws {
    var number = 0
    while true {
      var model = try ModelledDisk.chain(kind, seed: 5)
      model.file.clearSamples()
      let first = model.file.operationCount
      model.file.fail(first + number, .fails(code))
      var failure: ImageError?
      do {
        try FaultTests.history(&model)
      } catch let error as ImageError {
        failure = error
      }
      let wasMet = model.file.operationCount > first + number
      model.file.clearFaults()
      let place = "\(kind) \(code) operation \(number)"
      if wasMet {
        // A failed cut of unused room at the clean close may be passed over; everything else must be told.
        if let failure { #expect(failure.chain.contains { $0.errno == code }, "\(place): \(failure)") }
      } else {
        #expect(failure == nil, "\(place): \(String(describing: failure))")
        #expect(try model.firstDifference() == nil, "\(place)")
        #expect(number > 10, "the history is too short to show anything")
        break
      }
      // What the file holds now, and what a power cut would leave of it.
      var generator = SeededGenerator(seed: UInt64(number))
      for state in [model.file.contents, model.file.crashState(&generator)] {
        let foreign = try model.firstForeignSector(in: state)
        #expect(foreign == nil, "\(place): sector \(foreign ?? -1)")
        if foreign != nil { return }
      }
      // A full disk that has room again goes on, unless a flush failed: then nothing is known any more.
      if code == .noSpace, failure != nil {
        do {
          try model.write(pattern(seed: 9, count: 4096), at: 3 << 20)
          // Not the model's own close: the step that failed may have been done in part, and stays so.
          try model.disk.finishWriting()
          let foreign = try model.firstForeignSector(in: model.file.contents)
          #expect(foreign == nil, "\(place), gone on: sector \(foreign ?? -1)")
        } catch let error as ImageError {
          #expect(error.chain.contains { $0.sentence.contains("flush") }, "\(place), gone on: \(error)")
        }
      }
      number += 1
    }
  }
}
