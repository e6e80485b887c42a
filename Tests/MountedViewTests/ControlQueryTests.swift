import ImageManagement
import Storage
import Testing

@testable import MountedView

@Suite struct ControlQueryTests {
  @Test func namesOfFiles() {
    for file in ControlFile.allCases { #expect(ControlQuery(name: file.name) == ControlQuery(file)) }
    for name in ["", "?", "nothing", "info ", "Info", "?format=json", "nothing?format=json"] {
      #expect(ControlQuery(name: name) == nil)
    }
  }

  @Test func pairsInTheirOrder() throws {
    let query = try #require(ControlQuery(name: "map?offset=1&format=json&empty="))
    #expect(query.file == .map)
    #expect(query.pairs?.map(\.key) == ["offset", "format", "empty"])
    #expect(query.pairs?.map(\.value) == ["1", "json", ""])
    #expect(ControlQuery(name: "info?")?.pairs?.isEmpty == true)
  }

  @Test(arguments: ["map?offset", "map?=1", "map?a=1&a=2", "map?&", "info?format"])
  func whatIsNoPairIsAnError(_ name: String) throws {
    let query = try #require(ControlQuery(name: name))
    #expect(throws: ImageError.self) { try ControlQuestion(query) }
  }

  @Test(arguments: [
    "info?format=xml", "info?offset=1", "error?format=json", "map?offset=-1", "map?offset=1k",
    "map?length=+5",
    "map?offset=18446744073709551616", "map?max=3",
  ])
  func whatAFileDoesNotKnowIsAnError(_ name: String) throws {
    let query = try #require(ControlQuery(name: name))
    let error = #expect(throws: ImageError.self) { try ControlQuestion(query) }
    #expect(error?.errno.rawValue == 22)
  }

  @Test func rangesOfAMap() throws {
    func range(_ name: String) throws -> Range<UInt64> {
      try ControlQuestion(try #require(ControlQuery(name: name))).range(ofDisk: 1000, "a")
    }
    #expect(try range("map") == 0..<1000)
    #expect(try range("map?offset=10") == 10..<1000)
    #expect(try range("map?offset=10&length=990") == 10..<1000)
    #expect(try range("map?offset=1000&length=0") == 1000..<1000)
    #expect(throws: ImageError.self) { try range("map?offset=1001") }
    #expect(throws: ImageError.self) { try range("map?offset=10&length=991") }
    #expect(throws: ImageError.self) { try range("map?offset=10&length=18446744073709551615") }
  }

  @Test func numbersOfPartitions() {
    #expect(PartitionWindow.number(ofName: "1") == 1)
    #expect(PartitionWindow.number(ofName: "128") == 128)
    for name in ["", "0", "01", "-1", "1 ", "x", "524288", "99999999999999999999"] {
      #expect(PartitionWindow.number(ofName: name) == nil)
    }
  }
}
