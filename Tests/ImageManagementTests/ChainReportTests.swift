import Foundation
import Storage
import Testing
import VirtualDisk

@testable import ImageManagement

@Suite("The report of control/chain")
struct ChainReportTests {
  private let broken = ChainReport([
    ChainLink(path: "/srv/leaf.vhdx", facts: .success(Sample.child)),
    ChainLink(
      path: "C:\\disks\\base.vhdx", facts: .failure(ImageError(.fileNotFound, "its parent is missing"))),
  ])

  @Test func textBeginsEachFileWithItsDepthAndEndsWithTheBreak() {
    #expect(
      text(broken.bytes(as: .text)) == """
        depth 0
        path /srv/leaf.vhdx
        format vhdx
        type differencing
        virtual_size 42949672960
        file_size 4194304
        allocated_size 69632
        block_size 33554432
        logical_sector_size 512
        physical_sector_size 4096
        virtual_disk_id 11111111-2222-3333-4444-555555555555
        data_write_guid aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee
        parent_path .\\134base.vhdx
        parent_identifier aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee
        creator vhdfs
        state ok
        log_dirty 0
        alignment 4096
        depth 1
        path C:\\134disks\\134base.vhdx
        state error
        reason its parent is missing

        """)
  }

  @Test func jsonHoldsTheSameFacts() throws {
    let bytes = broken.bytes(as: .json)
    #expect(
      text(bytes).hasPrefix(
        "{\n  \"chain\": [\n    {\n      \"depth\": 0,\n      \"path\": \"/srv/leaf.vhdx\","))
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: [[String: Any]]])
    let chain = try #require(object["chain"])
    #expect(chain.count == 2)
    #expect(chain[0]["virtual_size"] as? UInt64 == 42_949_672_960)
    #expect(chain[1]["depth"] as? Int == 1)
    #expect(chain[1]["state"] as? String == "error")
    #expect(chain[1]["reason"] as? String == "its parent is missing")
  }

  @Test func anEmptyChainIsStillJSON() throws {
    let bytes = ChainReport([]).bytes(as: .json)
    #expect(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: [String]] == ["chain": []])
  }
}
