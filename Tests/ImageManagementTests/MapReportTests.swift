import Foundation
import Storage
import Testing
import VirtualDisk

@testable import ImageManagement

@Suite("The report of control/map")
struct MapReportTests {
  private let runs = [
    MapRun(offset: 0, length: 1_048_576, kind: .data, depth: 0, fileOffset: 4_194_304),
    MapRun(offset: 1_048_576, length: 4096, kind: .zero, depth: 0, fileOffset: nil),
    MapRun(offset: 1_052_672, length: 512, kind: .data, depth: 1, fileOffset: 8_388_608),
    MapRun(offset: 1_053_184, length: 1_043_968, kind: .unmapped, depth: 1, fileOffset: nil),
  ]

  private func whole(_ report: MapReport) throws -> [UInt8] {
    var report = report
    var bytes: [UInt8] = []
    while let piece = try report.nextPiece() { bytes += piece }
    return bytes
  }

  private func report(_ format: ReportFormat, _ paths: [String] = ["/srv/leaf.vhdx", Sample.hostile])
    -> MapReport
  {
    MapReport(paths: paths, from: 0, length: 2_097_152, as: format) { [runs] offset, _, body in
      for run in runs where run.offset >= offset { if !body(run) { return } }
    }
  }

  @Test func textIsALineForEachRange() throws {
    #expect(
      text(try whole(report(.text))) == """
        # offset 0 length 2097152
        # file 0 /srv/leaf.vhdx
        # file 1 \(Sample.hostileText)
        0 1048576 data 0 4194304
        1048576 4096 zero 0 -
        1052672 512 data 1 8388608
        1053184 1043968 unmapped 1 -
        # processed 2097152

        """)
  }

  @Test func jsonHoldsTheSameRanges() throws {
    let bytes = try whole(report(.json))
    let object = try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
    #expect(object["byte_offset"] as? Int == 0)
    #expect(object["byte_length"] as? Int == 2_097_152)
    #expect(object["processed_byte_length"] as? Int == 2_097_152)
    #expect(object["files"] as? [String] == ["/srv/leaf.vhdx", Sample.hostileText])
    let ranges = try #require(object["ranges"] as? [[String: Any]])
    #expect(ranges.count == runs.count)
    for (range, run) in zip(ranges, runs) {
      #expect(range["offset"] as? UInt64 == run.offset)
      #expect(range["length"] as? UInt64 == run.length)
      #expect(range["kind"] as? String == run.kind.rawValue)
      #expect(range["depth"] as? Int == run.depth)
      #expect(range["file_offset"] as? UInt64 == run.fileOffset)
    }
  }

  @Test(arguments: ReportFormat.allCases)
  func aHugeMapComesInSmallPieces(_ format: ReportFormat) throws {
    // Many ranges; each piece goes on where the last one ended.
    let count: UInt64 = 200_000
    var report = MapReport(paths: ["/srv/a.vhdx"], from: 0, length: count * 512, as: format) {
      offset, _, body in
      var at = offset
      while at < count * 512 {
        let kind: MapRun.Kind = at / 512 % 2 == 0 ? .data : .zero
        guard
          body(MapRun(offset: at, length: 512, kind: kind, depth: 0, fileOffset: kind == .data ? at : nil))
        else { return }
        at += 512
      }
    }
    var ranges = 0
    var last: [UInt8] = []
    while let piece = try report.nextPiece() {
      #expect(piece.count < MapReport.pieceSize + 256)
      switch format {
      case .text: ranges += piece.count { $0 == UInt8(ascii: "\n") }
      case .json: ranges += piece.count { $0 == UInt8(ascii: "{") }
      }
      last = piece
    }
    #expect(ranges == (format == .text ? 200_003 : 200_001))
    #expect(text(last).contains("102400000"))
  }

  @Test func aFailureEndsTheReportWithoutItsLastLine() throws {
    var report = MapReport(paths: [], from: 0, length: 4096, as: .text) { _, _, _ throws(ImageError) in
      throw ImageError(.wrongDataType, "the table is damaged")
    }
    #expect(text(try #require(try report.nextPiece())) == "# offset 0 length 4096\n")
    #expect(throws: ImageError.self) { try report.nextPiece() }
  }

  @Test func anEmptyDiskOrRegionIsComplete() throws {
    let report = MapReport(paths: [], from: 4096, length: 0, as: .text) { _, _, _ in }
    #expect(text(try whole(report)) == "# offset 4096 length 0\n# processed 0\n")
  }
}
