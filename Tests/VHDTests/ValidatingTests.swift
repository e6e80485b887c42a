import Storage
import TestSupport
import Testing

@testable import VHD

@Suite("What a look through a VHD finds")
struct ValidatingTests {
  static func severities(_ bytes: SparseBytes) throws -> [ImageFinding.Severity] {
    try VHDImage(RecordingFile(bytes).file).validate().all.map(\.severity)
  }

  static func number(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }

  @Test("Nothing after a clean close", arguments: [false, true]) func sound(isChild: Bool) throws {
    #expect(try ValidatingTests.severities(DamageTests.original(isChild: isChild)).isEmpty)
  }

  @Test("Footers: what a power cut leaves, and what none leaves") func footers() throws {
    let original = try DamageTests.original(isChild: false)
    var lost = original
    lost.zero(at: original.size - 512, length: 512)
    #expect(try ValidatingTests.severities(lost) == [.unfinished])
    var short = original
    short.resize(to: original.size - 1)
    #expect(try ValidatingTests.severities(short) == [.remark])
    var broken = original
    broken.zero(at: 0, length: 100)
    #expect(try ValidatingTests.severities(broken) == [.damage])
  }

  @Test("A table that contradicts itself or the file is damage") func table() throws {
    let original = try DamageTests.original(isChild: false)
    let layout = try #require(try VHDImage(RecordingFile(original).file).blocks?.layout)
    var entry = [UInt8](repeating: 0, count: 4)
    entry.withUnsafeMutableBytes { _ = original.read(into: $0, at: layout.tableOffset + 4) }
    let last = UInt32(original.size / 512)
    for wrong in [
      entry, ValidatingTests.number(0), ValidatingTests.number(2), ValidatingTests.number(last - 1),
      ValidatingTests.number(last + 1000),
    ] {
      var damaged = original
      wrong.withUnsafeBytes { damaged.write($0, at: layout.tableOffset) }
      #expect(try ValidatingTests.severities(damaged).contains(.damage), "\(wrong)")
    }
  }
}
