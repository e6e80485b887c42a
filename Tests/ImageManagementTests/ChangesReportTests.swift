import Foundation
import Storage
import Testing

@testable import ImageManagement

@Suite("The report of control/changes")
struct ChangesReportTests {
  /// A record that gives these ranges, each clipped.
  private func report(
    _ ranges: [Range<UInt64>], _ region: Range<UInt64>, maximum: UInt64? = nil, _ format: ReportFormat = .text
  ) -> ChangesReport {
    ChangesReport(limitID: "vhdfs:id", region: region, maximum: maximum, as: format) { offset, end in
      ranges.lazy.map { $0.clamped(to: offset..<end) }.first { !$0.isEmpty }
    }
  }

  private func whole(_ report: ChangesReport) throws -> String {
    var report = report
    var bytes: [UInt8] = []
    while let piece = try report.nextPiece() { bytes += piece }
    return text(bytes)
  }

  private let ranges: [Range<UInt64>] = [0..<4096, 4096..<8192, 16384..<20480, 1 << 40..<(1 << 40) + 512]

  @Test func textIsALineForEachRange() throws {
    #expect(
      try whole(report(ranges, 0..<1 << 41)) == """
        # limit vhdfs:id target - offset 0 length 2199023255552
        0 8192
        16384 4096
        1099511627776 512
        # processed 2199023255552

        """)
  }

  @Test func rangesAreClipped() throws {
    #expect(
      try whole(report(ranges, 5000..<16385)) == """
        # limit vhdfs:id target - offset 5000 length 11385
        5000 3192
        16384 1
        # processed 11385

        """)
    #expect(try whole(report([], 0..<1)) == "# limit vhdfs:id target - offset 0 length 1\n# processed 1\n")
  }

  /// What was not told is not said to have been looked at; with the last range told, all was.
  @Test func aMaximumEndsTheAnswerWhereItGotTo() throws {
    #expect(try whole(report(ranges, 100..<1 << 41, maximum: 1)).hasSuffix("\n100 8092\n# processed 8092\n"))
    #expect(try whole(report(ranges, 100..<1 << 41, maximum: 2)).hasSuffix("\n# processed 20380\n"))
    #expect(try whole(report(ranges, 0..<1 << 41, maximum: 3)).hasSuffix(" 512\n# processed 2199023255552\n"))
  }

  @Test func jsonHoldsTheSame() throws {
    func object(_ report: ChangesReport) throws -> [String: Any] {
      try #require(try JSONSerialization.jsonObject(with: Data(whole(report).utf8)) as? [String: Any])
    }
    let all = try object(report(ranges, 0..<1 << 41, .json))
    #expect(all["limit_id"] as? String == "vhdfs:id")
    #expect(all["target_id"] is NSNull)
    #expect(all["byte_offset"] as? UInt64 == 0)
    #expect(all["byte_length"] as? UInt64 == 1 << 41)
    #expect(all["processed_byte_length"] as? UInt64 == 1 << 41)
    #expect(all["changed_byte_offsets"] as? [UInt64] == [0, 16384, 1 << 40])
    #expect(all["changed_byte_lengths"] as? [UInt64] == [8192, 4096, 512])
    let two = try object(report(ranges, 0..<1 << 41, maximum: 2, .json))
    #expect(two["processed_byte_length"] as? UInt64 == 20480)
  }

  /// Every other granule of a large disk.
  private func many(_ format: ReportFormat, _ count: UInt64, maximum: UInt64? = nil) -> ChangesReport {
    ChangesReport(limitID: "i", region: 0..<count * 8192, maximum: maximum, as: format) { offset, end in
      let start = (offset + 8191) / 8192 * 8192
      return start < end ? start..<min(start + 4096, end) : nil
    }
  }

  @Test func jsonIsBoundedWhateverIsAskedFor() throws {
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(whole(many(.json, 70_000, maximum: 1 << 40)).utf8))
        as? [String: Any])
    #expect((object["changed_byte_offsets"] as? [UInt64])?.count == 65_536)
    #expect(object["processed_byte_length"] as? UInt64 == 65_535 * 8192 + 4096)
  }

  @Test func aHugeAnswerComesInSmallPieces() throws {
    var report = many(.text, 200_000)
    var lines = 0
    var last: [UInt8] = []
    while let piece = try report.nextPiece() {
      #expect(piece.count <= MapReport.pieceSize)
      lines += piece.count { $0 == UInt8(ascii: "\n") }
      last = piece
    }
    #expect(lines == 200_002)
    #expect(text(last) == "# processed 1638400000\n")
  }

  @Test func aFailureEndsTheAnswerWithoutItsLastLine() throws {
    var report = ChangesReport(limitID: "i", region: 0..<8192, maximum: nil, as: .text) {
      (_, _) throws(ImageError) in throw ImageError(.wrongDataType, "the record is damaged")
    }
    #expect(text(try #require(try report.nextPiece())).hasPrefix("# limit"))
    #expect(throws: ImageError.self) { try report.nextPiece() }
  }

  @Test func eachNumberHasItsDigits() {
    var numbers: [UInt64] = [0, 9, 10, 99, 100, 999, 1000, 9999, 10000, 99999, 100_000_000, .max, .max - 1]
    for shift in 0..<64 { numbers += [1 << shift, (1 << shift) - 1] }
    for number in numbers {
      let bytes = [UInt8](unsafeUninitializedCapacity: 20) { buffer, count in
        count = buffer.baseAddress.map { DecimalText.put(number, at: $0) } ?? 0
      }
      #expect(text(bytes) == "\(number)")
    }
  }

  // MARK: - Questions

  private func request(_ change: (inout ChangesRequest) -> Void) -> ChangesRequest {
    var request = ChangesRequest()
    request.limit = "a"
    change(&request)
    return request
  }

  @Test func regions() throws {
    func region(_ change: (inout ChangesRequest) -> Void) throws -> Range<UInt64> {
      try request(change).checked(ofDisk: 1000, "disk").region
    }
    #expect(try region { _ in } == 0..<1000)
    #expect(try region { $0.offset = 10 } == 10..<1000)
    #expect(
      try region {
        $0.offset = 10
        $0.length = 990
      } == 10..<1000)
    #expect(
      try region {
        $0.offset = 999
        $0.length = 1
      } == 999..<1000)
  }

  @Test func whatIsNotInsideTheDiskIsRefused() {
    let bad = [
      request { $0.offset = 1000 }, request { $0.offset = .max }, request { $0.length = 0 },
      request { $0.length = 1001 },
      request {
        $0.offset = 10
        $0.length = 991
      },
      request {
        $0.offset = 10
        $0.length = .max
      }, request { $0.maximum = 0 }, request { $0.target = "b" },
      request { $0.limit = nil }, request { $0.limit = "" },
    ]
    for request in bad {
      let error = #expect(throws: ImageError.self) { try request.checked(ofDisk: 1000, "disk") }
      #expect(error?.returnValue == .invalidParameter, "\(request)")
    }
  }
}
