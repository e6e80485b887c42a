import Storage
import TestSupport
import Testing

@testable import VHDX

@Suite("What a look through a VHDX finds")
struct ValidatingTests {
  static func findings(_ contents: SparseBytes) throws -> [ImageFinding] {
    try SessionTests.image(contents).0.validate().all
  }

  /// A disk with blocks 0 and 1, closed.
  static func closed() throws -> SparseBytes {
    let (image, double) = try SessionTests.image(try SessionTests.dynamic())
    try image.beginWriting()
    try SessionTests.write(image, pattern(seed: 1, count: 4096), at: 0)
    try SessionTests.write(image, pattern(seed: 2, count: 4096), at: 1 << 20)
    try image.finishWriting()
    return double.contents
  }

  static func entry(_ block: UInt64, _ contents: SparseBytes) throws -> BlockTableEntry {
    let (image, _) = try SessionTests.image(contents)
    var bytes = [UInt8](repeating: 0, count: 8)
    let place = image.regions.blockTable.offset + image.geometry.payloadIndex(block) * 8
    return bytes.withUnsafeMutableBytes { buffer in
      _ = contents.read(into: buffer, at: place)
      return BlockTableEntry(rawValue: UnsafeRawBufferPointer(buffer).littleEndian(at: 0))
    }
  }

  @Test("Nothing after a clean close; a half-done session shows, and is no damage")
  func sound() throws {
    #expect(try ValidatingTests.findings(try SessionTests.dynamic()).isEmpty)
    #expect(try ValidatingTests.findings(try ValidatingTests.closed()).isEmpty)
    let (image, double) = try SessionTests.image(try ValidatingTests.closed())
    try image.beginWriting()
    try SessionTests.write(image, pattern(seed: 3, count: 4096), at: 0)
    try SessionTests.write(image, pattern(seed: 3, count: 4096), at: 2 << 20)
    try image.commit()
    let findings = try SessionTests.image(double.contents).0.validate()
    #expect(findings.isSound && !findings.isClean)
    #expect(findings.all.contains { $0.sentence.contains("log") })
  }

  @Test("A table that contradicts itself or the file is damage")
  func table() throws {
    let contents = try ValidatingTests.closed()
    let first = try ValidatingTests.entry(0, contents)
    let wrong: [BlockTableEntry] = [
      first,
      BlockTableEntry(.fullyPresent, offset: 1 << 20),
      BlockTableEntry(.fullyPresent, offset: 0),
      BlockTableEntry(.fullyPresent, offset: contents.size),
      BlockTableEntry(.fullyPresent, offset: VHDXFormat.maximumFileOffset << 1),
      BlockTableEntry(.partiallyPresent, offset: first.offset),
      BlockTableEntry(rawValue: 4),
      BlockTableEntry(rawValue: 5),
      BlockTableEntry(rawValue: 1 << 7),
      BlockTableEntry(.unmapped, offset: first.offset),
    ]
    for entry in wrong {
      var damaged = contents
      try RoomTests.set(entry, block: 1, in: &damaged)
      #expect(
        try ValidatingTests.findings(damaged).contains { $0.severity == .damage },
        "\(String(entry.rawValue, radix: 16))")
    }
    var odd = contents
    try RoomTests.set(BlockTableEntry(.zero, offset: first.offset), block: 1, in: &odd)
    #expect(try ValidatingTests.findings(odd).map(\.severity) == [.remark])
  }

  @Test("One header or one region table that is damaged is told")
  func copies() throws {
    let contents = try ValidatingTests.closed()
    for header in VHDXFormat.headerOffsets {
      var half = contents
      withUnsafeBytes(of: UInt64.max) { half.write($0, at: header + 100) }
      #expect(try ValidatingTests.findings(half).map(\.severity) == [.unfinished])
    }
    for table in VHDXFormat.regionTableOffsets {
      var half = contents
      withUnsafeBytes(of: UInt64.max) { half.write($0, at: table + 100) }
      #expect(try ValidatingTests.findings(half).map(\.severity) == [.damage])
    }
  }

  @Test("Of many findings the first thousand are kept, and the rest are counted")
  func many() {
    var findings = ImageFindings()
    for number in 0..<1500 { findings.add(.remark, at: UInt64(number), "one more") }
    #expect(findings.all.count == 1000 && findings.omitted == 500 && !findings.isSound)
  }
}
