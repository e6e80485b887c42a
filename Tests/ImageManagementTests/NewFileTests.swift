import Dispatch
import Foundation
import Glibc
import Storage
import Synchronization
import Testing

@testable import ImageManagement

@Suite("Files that get their names when they are whole")
struct NewFileTests {
  private let directory: String

  init() throws {
    var template = Array("/tmp/vhdfs-test.XXXXXX".utf8CString)
    directory = String(cString: try #require(mkdtemp(&template)))
  }

  private func names() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
  }

  private func cleanUp() { try? FileManager.default.removeItem(atPath: directory) }

  @Test func nothingIsLeftOfAFileThatCouldNotBeMade() throws {
    defer { cleanUp() }
    let error = #expect(throws: ImageError.self) {
      try NewFile.make("\(directory)/a.vhdx") { (file) throws(ImageError) in
        try file.resize(to: 1 << 20)
        throw ImageError(.failed, "on purpose")
      }
    }
    #expect(error?.sentence == "on purpose")
    #expect(try names() == [])
  }

  @Test func theNameIsThereOnlyAtTheEnd() throws {
    defer { cleanUp() }
    let path = "\(directory)/a.vhdx"
    try NewFile.make(path) { (file) throws(ImageError) in
      #expect(access(path, F_OK) != 0)
      try file.resize(to: 4096)
      try file.flush()
    }
    #expect(try names() == ["a.vhdx"])
  }

  /// Somebody else takes the name while the file is being made: theirs stays.
  @Test func aNameThatIsTakenMeanwhileIsNotReplaced() throws {
    defer { cleanUp() }
    let path = "\(directory)/a.vhdx"
    let error = #expect(throws: ImageError.self) {
      try NewFile.make(path) { (file) throws(ImageError) in
        try file.resize(to: 4096)
        _ = FileManager.default.createFile(atPath: path, contents: Data("theirs".utf8))
      }
    }
    #expect(error?.errno == .fileExists)
    #expect(FileManager.default.contents(atPath: path) == Data("theirs".utf8))
    #expect(try names() == ["a.vhdx"])
  }

  @Test func aLinkThatLeadsNowhereTakesTheNameToo() throws {
    defer { cleanUp() }
    let path = "\(directory)/a.vhdx"
    #expect(symlink("/nonexistent/b", path) == 0)
    let error = #expect(throws: ImageError.self) { try NewFile.make(path) { _ in } }
    #expect(error?.errno == .fileExists)
  }

  @Test func ofManyAtOnceOneWins() throws {
    defer { cleanUp() }
    let path = "\(directory)/a.vhdx"
    let won = Atomic<Int>(0)
    DispatchQueue.concurrentPerform(iterations: 16) { number in
      do throws(ImageError) {
        try NewFile.make(path) { (file) throws(ImageError) in try file.resize(to: UInt64(number + 1)) }
        won.add(1, ordering: .relaxed)
      } catch {
        #expect(error.errno == .fileExists)
      }
    }
    #expect(won.load(ordering: .relaxed) == 1)
    #expect(try names() == ["a.vhdx"])
  }
}

@Suite("The path from a child to its parent")
struct RelativePathTests {
  @Test func isRecordedWithBackslashesAndWithoutLinks() throws {
    var template = Array("/tmp/vhdfs-test.XXXXXX".utf8CString)
    let root = String(cString: try #require(mkdtemp(&template)))
    let files = FileManager.default
    defer { try? files.removeItem(atPath: root) }
    try files.createDirectory(atPath: "\(root)/a/b", withIntermediateDirectories: true)
    try files.createDirectory(atPath: "\(root)/c", withIntermediateDirectories: true)
    try files.createSymbolicLink(atPath: "\(root)/link", withDestinationPath: "a/b")
    for name in ["base.vhdx", "a/base.vhdx", "c/base.vhdx", "odd\\name.vhdx"] {
      _ = files.createFile(atPath: "\(root)/\(name)", contents: nil)
    }
    func recorded(_ child: String, _ parent: String) throws -> String {
      try RelativePath.recorded(from: "\(root)/\(child)", to: "\(root)/\(parent)")
    }
    #expect(try recorded("child.vhdx", "base.vhdx") == ".\\base.vhdx")
    #expect(try recorded("child.vhdx", "a/base.vhdx") == ".\\a\\base.vhdx")
    #expect(try recorded("a/child.vhdx", "base.vhdx") == "..\\base.vhdx")
    #expect(try recorded("a/b/child.vhdx", "c/base.vhdx") == "..\\..\\c\\base.vhdx")
    #expect(try recorded("link/child.vhdx", "a/base.vhdx") == "..\\base.vhdx")
    #expect(throws: ImageError.self) { try recorded("child.vhdx", "odd\\name.vhdx") }
    #expect(throws: ImageError.self) { try recorded("child.vhdx", "none.vhdx") }
    #expect(throws: ImageError.self) { try recorded("none/child.vhdx", "base.vhdx") }
  }
}
