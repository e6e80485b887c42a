import Foundation
import Storage
import Testing
import VirtualDisk

@testable import ImageManagement

@Suite("The report of control/info")
struct InfoReportTests {
  @Test func textHasOneFactALineInTheDocumentedOrder() {
    let report = InfoReport(Sample.entry(.success(Sample.base)))
    #expect(
      text(report.bytes(as: .text)) == """
        path /srv/disk.vhdx
        format vhdx
        type dynamic
        virtual_size 42949672960
        file_size 4194304
        allocated_size 69632
        block_size 33554432
        logical_sector_size 512
        physical_sector_size 4096
        virtual_disk_id 11111111-2222-3333-4444-555555555555
        data_write_guid aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee
        creator vhdfs
        state offline
        read_only 0
        log_dirty 0
        alignment 4096

        """)
  }

  @Test func jsonHasTheSameKeysInTheSameOrder() throws {
    let report = InfoReport(
      Sample.entry(.success(Sample.child), readOnlyReason: "a child is known", isOnline: true),
      parentPath: "/srv/base.vhdx")
    #expect(
      text(report.bytes(as: .json)) == """
        {
          "path": "/srv/disk.vhdx",
          "format": "vhdx",
          "type": "differencing",
          "virtual_size": 42949672960,
          "file_size": 4194304,
          "allocated_size": 69632,
          "block_size": 33554432,
          "logical_sector_size": 512,
          "physical_sector_size": 4096,
          "virtual_disk_id": "11111111-2222-3333-4444-555555555555",
          "data_write_guid": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
          "parent_path": "/srv/base.vhdx",
          "parent_identifier": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
          "creator": "vhdfs",
          "state": "online",
          "read_only": true,
          "reason": "a child is known",
          "log_dirty": false,
          "alignment": 4096
        }

        """)
    let keys = report.fields.map { "\($0.key)" }
    let lines = text(report.bytes(as: .text)).split(separator: "\n")
    #expect(lines.map { String($0.prefix { $0 != " " }) } == keys)
  }

  @Test func aBrokenImageHasItsReason() {
    let error = ImageError.damaged(
      "/srv/disk.vhdx", at: 65536, "both headers are damaged")
    let report = InfoReport(Sample.entry(.failure(error)))
    #expect(
      text(report.bytes(as: .text)) == """
        path /srv/disk.vhdx
        state error
        read_only 1
        reason /srv/disk.vhdx at offset 65536: both headers are damaged

        """)
  }

  @Test func whatTheParentIsCalledIsTheFirstRecordedPathWhereNoneWasFound() {
    let report = text(InfoReport(Sample.entry(.success(Sample.child))).bytes(as: .text))
    #expect(report.contains("\nparent_path .\\134base.vhdx\n"))
  }

  @Test func anOperationUnderWayMakesItBusy() {
    let report = text(
      InfoReport(Sample.entry(.success(Sample.base), isOnline: true, operation: "job 7 (compact)")).bytes(
        as: .text))
    #expect(report.contains("\nstate busy\n"))
  }

  @Test func noByteOfAFileCanEndALineOrAString() throws {
    var facts = Sample.child
    facts.creator = Sample.hostile
    facts.recordedParentPaths = [Sample.hostile]
    // A reason is a sentence: what is in it of names is escaped already.
    let entry = Sample.entry(
      .success(facts), path: Sample.hostile, readOnlyReason: escaped(Sample.hostile))
    let report = InfoReport(entry)
    let lines = text(report.bytes(as: .text))
    for key in ["path", "parent_path", "creator", "reason"] {
      #expect("\n\(lines)".contains("\n\(key) \(Sample.hostileText)\n"))
    }
    #expect(lines.split(separator: "\n").count == report.fields.count)
    #expect(!lines.utf8.contains { $0 < 0x20 && $0 != 0x0A })
    let json = text(report.bytes(as: .json))
    for key in ["path", "parent_path", "creator", "reason"] {
      #expect(json.contains("  \"\(key)\": \"\(Sample.hostileJSON)\""))
    }
    // A reader that others wrote gets the escaped text back.
    let object = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any]
    #expect(object?["creator"] as? String == Sample.hostileText)
    #expect(object?.count == report.fields.count)
  }

  /// A sentence is not escaped again; if somebody forgot to escape what is in it, nothing gets out all the same.
  @Test(arguments: [
    (escaped(Sample.hostile), Sample.hostileText, Sample.hostileJSON),
    (
      Sample.hostile, #"new\012line "quoted" back\slash \033[31mred"#,
      #"new\\012line \"quoted\" back\\slash \\033[31mred"#
    ),
    ("\\", "\\", "\\\\"), ("", "", ""),
    ("\\\u{301}\n\u{202E}\u{85}", "\\\u{301}\\012\\342\\200\\256\\302\\205", nil),
  ]) func aSentenceIsEscapedOnce(_ sentence: String, _ inText: String, _ inJSON: String?) throws {
    let error = ImageError(.failed, sentence)
    let reports = [
      InfoReport(Sample.entry(.failure(error))).bytes,
      ChainReport([ChainLink(path: "/a", facts: .failure(error))]).bytes,
      TrackingReport(TrackingFacts(state: .refused, refusal: error, path: "/a")).bytes,
    ]
    for report in reports {
      #expect("\(text(report(.text)))\n".contains("\nreason \(inText)\n"))
      let json = report(.json)
      if let inJSON { #expect(text(json).contains("\"reason\": \"\(inJSON)\"")) }
      #expect(try JSONSerialization.jsonObject(with: Data(json)) is [String: Any])
    }
    let event = OperationEvent.failed(error).line
    let object = try JSONSerialization.jsonObject(with: Data(event)) as? [String: Any]
    #expect(object?["error_description"] as? String == inText)
    for bytes in reports.flatMap({ [$0(.text), $0(.json)] }) + [event] {
      #expect(!bytes.contains { $0 < 0x20 && $0 != 0x0A || $0 == 0x7F })
    }
  }

  @Test(arguments: [0, 1, 9, 10, 4096, 1_000_000_007, UInt64(Int64.max), UInt64.max - 1, UInt64.max])
  func numbersAreDecimal(_ number: UInt64) {
    var output = ReportBytes()
    output.append(number)
    #expect(text(output.bytes) == String(number))
  }
}
