import Glibc
import TestSupport
import Testing

@Suite("The exit status, a number for each kind of failure")
struct ExitStatusTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func expect(_ status: Int32, _ words: [String], _ sentence: String) throws {
    let result = try Vhdfs.run(words)
    #expect(result.status == status, "\(result.summary)")
    #expect(result.output.isEmpty)
    #expect(result.errors.hasPrefix("vhdfs: "))
    #expect(result.errors.contains(sentence), "\(result.errors)")
    #expect(result.errors.split(separator: "\n").count == 1)
  }

  @Test(arguments: [["info"], ["info", "--json"], ["info", "--chain"], ["map"]])
  func aMissingFileIs21(_ words: [String]) throws {
    try expect(21, words + [directory.file("none.vhdx")], "none.vhdx")
  }

  @Test(arguments: [["info"], ["info", "--json"], ["info", "--chain"], ["map"]])
  func aFileThatIsNoImageIs18(_ words: [String]) throws {
    let path = directory.file("letter.vhdx")
    try writeFile(path, Array(repeating: UInt8(ascii: "a"), count: 1 << 20))
    try expect(18, words + [path], "letter.vhdx")
  }

  @Test func anEmptyFileIsNoImage() throws {
    let path = directory.file("empty.vhdx")
    try writeFile(path, [])
    try expect(18, ["info", path], "empty.vhdx")
  }

  @Test func anExistingFileIs15AndStays() throws {
    let path = directory.file("a.vhdx")
    try writeFile(path, Array("mine".utf8))
    try expect(15, ["create", "--size", "1G", path], "exists already")
    #expect(try textOfFile(path) == "mine")
    #expect(try names(in: directory.path) == ["a.vhdx"])
  }

  @Test func aSizeThatTheFormatDoesNotKnowIs15() throws {
    try expect(15, ["create", "--size", "100T", directory.file("a.vhdx")], "64 TiB")
    try expect(15, ["create", "--size", "1000", directory.file("a.vhdx")], "multiple of 512")
    try expect(
      15, ["create", "--size", "1G", "--block-size", "3M", directory.file("a.vhdx")], "power of two")
    try expect(
      15, ["create", "--size", "1G", "--sector-size", "1024", directory.file("a.vhdx")], "512 or 4096")
    #expect(try names(in: directory.path) == [])
  }

  @Test func aDirectoryIsNoImage() throws {
    let result = try Vhdfs.run(["info", directory.path])
    #expect(result.status >= 10 && result.status != 64)
    #expect(result.output.isEmpty)
  }

  @Test func aNameCannotBreakTheSentence() throws {
    try expect(21, ["info", directory.file("new\nline\u{1B}[31m.vhdx")], #"new\012line\033[31m.vhdx"#)
  }

  @Test(.enabled(if: geteuid() == 0, "needs root"), .requiresPrograms("setpriv"))
  func aFileThatMayNotBeReadIs11() throws {
    let path = directory.file("a.vhdx")
    try Vhdfs.create(path, ["--size", "1G"])
    chmod(path, 0o600)
    chmod(directory.path, 0o755)
    let program = directory.file("vhdfs")
    try runChecked(["cp", Vhdfs.program, program])
    let result = try run([
      "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "info", path,
    ])
    #expect(result.status == 11, "\(result.summary)")
    #expect(result.errors.contains("Permission denied"))
  }

  @Test func theTableInTheDocumentationIsTheRule() throws {
    let page = try textOfFile(Project.file("docs/exit-status.md"))
    let rows = page.matches(of: /\n\| ([0-9]+) \| (3[0-9]{4}) \|/)
    #expect(rows.count >= 14)
    for row in rows {
      #expect(Int(row.1) == (Int(row.2) ?? 0) - 32768 + 10)
    }
  }
}
