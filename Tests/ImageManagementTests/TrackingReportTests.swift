import Foundation
import Storage
import Testing
import VirtualDisk

@testable import ChangeTracking
@testable import ImageManagement

@Suite("The reports of points and of change tracking")
struct TrackingReportTests {
  static func point(_ name: String, created: Int64 = 1_795_272_166_500_000_000) -> ReferencePoint {
    ReferencePoint(name: name, id: "vhdfs:\(name)", created: created, diskSize: 1 << 30, firstInterval: 1)
  }

  private func object(_ bytes: [UInt8]) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
  }

  @Test func timesAreUTCInWholeSeconds() {
    #expect(timeText(0) == "1970-01-01T00:00:00Z")
    #expect(timeText(1_795_272_166_999_999_999) == "2026-11-21T14:42:46Z")
    #expect(timeText(-1) == "1969-12-31T23:59:59Z")
    #expect(timeText(951_782_400_000_000_000) == "2000-02-29T00:00:00Z")
    #expect(timeText(.max).hasPrefix("2262-"))
  }

  @Test func aPointsFiles() throws {
    let report = PointReport(TrackingReportTests.point("monday"))
    #expect(text(report.id) == "vhdfs:monday\n")
    #expect(text(report.created) == "2026-11-21T14:42:46Z\n")
    #expect(
      text(report.bytes(as: .text)) == """
        name monday
        id vhdfs:monday
        created 2026-11-21T14:42:46Z
        virtual_size 1073741824

        """)
    #expect(try object(report.bytes(as: .json))["virtual_size"] as? UInt64 == 1 << 30)
  }

  @Test func trackingInText() {
    let facts = TrackingFacts(
      state: .on, path: "/srv/\(Sample.hostile).tracking", fileSize: 36864,
      points: [TrackingReportTests.point("a"), TrackingReportTests.point("b")])
    #expect(
      text(TrackingReport(facts).bytes(as: .text)) == """
        state on
        file /srv/\(Sample.hostileText).tracking
        file_size 36864
        granularity 4096
        points 2
        point a vhdfs:a 2026-11-21T14:42:46Z
        point b vhdfs:b 2026-11-21T14:42:46Z

        """)
  }

  @Test func trackingInJSON() throws {
    let facts = TrackingFacts(state: .on, path: "/a", fileSize: 1, points: [TrackingReportTests.point("a")])
    let whole = try object(TrackingReport(facts).bytes(as: .json))
    #expect(whole["state"] as? String == "on")
    #expect(whole["granularity"] as? Int == 4096)
    let points = try #require(whole["points"] as? [[String: Any]])
    #expect(points.count == 1)
    #expect(points[0]["id"] as? String == "vhdfs:a")
    let list = try object(PointListReport(facts).bytes(as: .json))
    #expect((list["points"] as? [Any])?.count == 1)
    let off = try object(TrackingReport(TrackingFacts(state: .off, path: "/a")).bytes(as: .json))
    #expect((off["points"] as? [Any])?.isEmpty == true)
    #expect(off["file_size"] == nil)
  }

  /// No point is listed of a record that does not count: that is not the same as none.
  @Test func aRefusedRecordSaysWhy() {
    let refusal = ImageError(.wrongDataType, "the record is damaged")
    let facts = TrackingFacts(state: .refused, refusal: refusal, path: "/a", fileSize: 1)
    #expect(
      text(TrackingReport(facts).bytes(as: .text)).hasPrefix("state refused\nreason the record is damaged\n"))
    #expect(throws: ImageError.self) { try PointListReport(facts) }
  }
}
