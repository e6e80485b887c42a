import Glibc
import TestSupport
import Testing

/// Images that a merge or a compaction would make useless are found wherever they are, and named.
@Suite("Other children, in all directories that a command may use")
struct OtherChildrenTests {
  let directory: TemporaryDirectory
  /// `b/base` with the children `a/child`, `b/sibling`.
  let a: String
  let b: String

  init() throws {
    directory = try TemporaryDirectory()
    a = try directory.directory("a")
    b = try directory.directory("b")
  }

  private func makeFamily(_ format: String) throws {
    try Vhdfs.create("\(b)/base.\(format)", ["--size", "16M"])
    for child in ["\(a)/child.\(format)", "\(b)/sibling.\(format)"] {
      try Vhdfs.create(child, ["--parent", "\(b)/base.\(format)"])
    }
  }

  private func sums() throws -> [String] {
    try [a, b].flatMap { folder in
      try names(in: folder).sorted().map { try "\($0) \(sha256(ofFile: "\(folder)/\($0)"))" }
    }
  }

  /// The sentence of a command that must be refused with 32775, and change nothing.
  private func refusal(_ words: [String], under wrapper: [String] = []) throws -> String {
    let before = try sums()
    let result = try run(wrapper + [Vhdfs.program] + words)
    #expect(result.status == 17, "\(result.summary)")
    #expect(try sums() == before)
    return result.errors
  }

  @Test(arguments: ["vhd", "vhdx"])
  func aSiblingBesideTheParentIsNamed(format: String) throws {
    try makeFamily(format)
    try Vhdfs.create("\(b)/grand.\(format)", ["--parent", "\(b)/sibling.\(format)"])
    let words = ["merge", "--parents", b, "\(a)/child.\(format)"]
    let sentence = try refusal(words)
    for name in ["sibling", "grand"] {
      #expect(sentence.contains("\(b)/\(name).\(format)"), "\(sentence)")
    }
    let forced = try Vhdfs.runChecked(words + ["--force"])
    #expect(forced.contains("orphaned_files 2\norphaned \(b)/grand.\(format)\n"), "\(forced)")
  }

  @Test(arguments: ["vhd", "vhdx"])
  func aGrandchildElsewhereIsNotDeletedUnder(format: String) throws {
    try makeFamily(format)
    try runChecked(["rm", "\(b)/sibling.\(format)"])
    try Vhdfs.create(
      "\(b)/grand.\(format)", ["--parent", "\(a)/child.\(format)", "--parents", b])
    let words = ["merge", "--parents", b, "\(a)/child.\(format)", "--delete"]
    let sentence = try refusal(words)
    #expect(sentence.contains("\(b)/grand.\(format)") && sentence.contains("relink"), "\(sentence)")
    try Vhdfs.runChecked(words + ["--relink"])
    let chain = try Vhdfs.runChecked(["info", "--chain", "\(b)/grand.\(format)"])
    #expect(chain.contains("path \(b)/base.\(format)") && !chain.contains("error"), "\(chain)")
  }

  @Test(arguments: ["vhd", "vhdx"])
  func aCompactionByFreeSpaceSeesThemToo(format: String) throws {
    try makeFamily(format)
    try runChecked(["rm", "\(b)/sibling.\(format)"])
    let words = ["compact", "--mode", "full", "--parents", a, "\(b)/base.\(format)"]
    #expect(try refusal(words).contains("\(a)/child.\(format)"))
    try runChecked(["mv", "\(a)/child.\(format)", "\(b)/child.img"])
    let sentence = try refusal(["compact", "--mode", "full", "\(b)/base.\(format)"])
    #expect(sentence.contains("\(b)/child.img"), "\(sentence)")
    try Vhdfs.runChecked(["compact", "--mode", "prezeroed", "\(b)/base.\(format)"])
  }

  @Test(arguments: ["vhd", "vhdx"])
  func whatCannotBeReadMayBeAChild(format: String) throws {
    try makeFamily(format)
    try runChecked(["mv", "\(b)/sibling.\(format)", "\(b)/damaged.\(format)"])
    // The first half, with all that says what the file is.
    let file = try OpenFile("\(b)/damaged.\(format)", O_RDWR)
    try file.write([UInt8](repeating: 0, count: Int(file.size)), at: 0)
    let words = ["merge", "--parents", b, "\(a)/child.\(format)"]
    let sentence = try refusal(words)
    for part in ["\(b)/damaged.\(format)", "move it away", "force"] {
      #expect(sentence.contains(part), "\(sentence)")
    }
    let forced = try Vhdfs.runChecked(words + ["--force"])
    #expect(forced.contains("doubtful_files 1\ndoubtful \(b)/damaged.\(format)\n"), "\(forced)")
    #expect(!forced.contains("orphaned"))
    try runChecked(["mv", "\(b)/damaged.\(format)", directory.path])
    try Vhdfs.runChecked(words)
  }

  @Test(.requiresPrograms("setpriv"), .enabled(if: geteuid() == 0, "skipped: not root"))
  func whatAnotherUserOwnsMayBeAChild() throws {
    try makeFamily("vhdx")
    try runChecked(["mv", "\(b)/sibling.vhdx", "\(b)/sibling.img"])
    try writeFile("\(b)/notes.txt", Array(String(repeating: "n", count: 3000).utf8))
    let program = directory.file("vhdfs")
    try runChecked(["cp", Vhdfs.program, program])
    try runChecked(["chown", "-R", "nobody", directory.path])
    for name in ["sibling.img", "notes.txt"] {
      try runChecked(["chown", "root", "\(b)/\(name)"])
      try runChecked(["chmod", "600", "\(b)/\(name)"])
    }
    let words = ["merge", "--parents", b, "\(a)/child.vhdx"]
    let before = try sums()
    let other = ["setpriv", "--reuid=nobody", "--clear-groups", program]
    let refused = try run(other + words)
    #expect(refused.status == 17, "\(refused.summary)")
    #expect(refused.errors.contains("\(b)/sibling.img") && refused.errors.contains("make it readable"))
    // A file of such a size is no image.
    #expect(!refused.errors.contains("notes.txt"), "\(refused.errors)")
    #expect(try sums() == before)
    // Readable, it is seen to be one.
    try runChecked(["chmod", "644", "\(b)/sibling.img"])
    let known = try run(other + words)
    #expect(known.status == 17 && known.errors.contains("a part of: \(b)/sibling.img"), "\(known.summary)")
  }

  @Test func nothingIsToldOfChangesWhereAnotherWasMergedPast() throws {
    for (child, parent) in [("middle", "root"), ("leaf", "middle"), ("other", "middle")] {
      if parent == "root" { try Vhdfs.create("\(a)/root.vhdx", ["--size", "16M"]) }
      try Vhdfs.create("\(a)/\(child).vhdx", ["--parent", "\(a)/\(parent).vhdx"])
      try Vhdfs.runChecked(["tracking", "\(a)/\(child).vhdx", "on"])
      try Vhdfs.runChecked(["point", "create", "\(a)/\(child).vhdx", "monday"])
    }
    try Vhdfs.runChecked(["merge", "--force", "--into", "\(a)/root.vhdx", "\(a)/leaf.vhdx"])
    for (name, words) in [
      ("middle", ["changes", "--limit", "monday"]), ("middle", ["changes", "--limit", "parent"]),
      ("other", ["changes", "--limit", "monday"]), ("other", ["point", "create"]),
    ] {
      let sentence = try refusal(words + ["\(a)/\(name).vhdx"] + (words.count == 2 ? ["tuesday"] : []))
      for part in ["\(name).vhdx: leaf.vhdx was merged past it", "full copy"] {
        #expect(sentence.contains(part), "\(words): \(sentence)")
      }
    }
    // The one that was merged is whole.
    try Vhdfs.runChecked(["changes", "--limit", "monday", "\(a)/leaf.vhdx"])
    try Vhdfs.runChecked(["point", "create", "\(a)/leaf.vhdx", "tuesday"])
  }
}
