import Glibc
import TestSupport
import Testing

@Suite("Which files are valid only below another, after merges, renames and relinking", .requiresMount)
struct MergeMarkTests {
  private static let three: [(String, String?)] = [("a", nil), ("b", "a"), ("c", "b")]

  @Test("A child that is relinked goes on to say what was merged past it")
  func relinked() throws {
    let family = try MergedFamily("vhdx", [("a", nil), ("c", "a"), ("g", "c"), ("h", "g")])
    try family.mergeChecked("h", into: "c")
    #expect(try family.validOnlyBelow("g") == "h.vhdx")
    let before = try family.contents("h")
    try family.mergeChecked("c", "relink")
    #expect(try family.validOnlyBelow("g") == "h.vhdx")
    #expect(try family.validOnlyBelow("h") == nil)
    let refused = try family.merge("g", "delete")
    #expect(
      refused.status == 17 && refused.errors.contains("h.vhdx was merged past it"), "\(refused.summary)")
    #expect(try family.contents("h") == before)
    // What was merged out stands beside, and is not to be mended.
    let beside = try family.merge("h", into: "a")
    #expect(beside.status == 17 && beside.errors.contains("merged into it before"), "\(beside.summary)")
    #expect(beside.errors.contains("c.vhdx; remove what was merged"), "\(beside.errors)")
    try runChecked(["rm", family.file("c")])
    try family.mergeChecked("h", into: "a", "delete")
    #expect(try family.contents("a") == before)
  }

  @Test("A file that the source is merged into later is whole, and says so")
  func mergedIntoLater() throws {
    let family = try MergedFamily("vhdx", [])
    for (index, (name, parent)) in MergeMarkTests.three.enumerated() {
      try family.create(name, parent)
      try Vhdfs.runChecked(["tracking", family.file(name), "on"])
      try family.write(name, at: UInt64(index + 1) << 20)
    }
    let before = try family.contents("c")
    try family.mergeChecked("c", into: "a")
    #expect(try family.validOnlyBelow("b") == "c.vhdx")
    try family.mergeChecked("c", "delete")
    #expect(try family.validOnlyBelow("b") == nil)
    #expect(try family.contents("b") == before)
    try Vhdfs.runChecked(["point", "create", family.file("b"), "x"])
    try family.mergeChecked("b", "delete")
    #expect(try family.contents("a") == before)
    #expect(try Vhdfs.runChecked(["point", "list", family.file("a")]).contains("x "))
  }

  @Test("The source is known by what a rename, a copy and a write keep")
  func renamed() throws {
    let family = try MergedFamily("vhdx", MergeMarkTests.three)
    try family.mergeChecked("c", into: "a")
    try runChecked(["mv", family.file("c"), family.file("d")])
    try family.write("d", at: 12 << 20)
    #expect(try family.validOnlyBelow("d") == nil)
    #expect(try family.validOnlyBelow("b") == "d.vhdx")
    let before = try family.contents("d")
    try family.mergeChecked("d", into: "a", "delete")
    #expect(try family.contents("a") == before)
  }

  @Test("Another file with the source's name is not the source")
  func namesake() throws {
    let family = try MergedFamily("vhdx", MergeMarkTests.three)
    // A child that was made elsewhere, in time.
    let other = try family.workspace.root.directory("elsewhere") + "/c.vhdx"
    try Vhdfs.create(other, ["--parent", family.file("b")])
    try family.mergeChecked("c", into: "a")
    try runChecked(["rm", family.file("c")])
    let refused = try Vhdfs.run(["create", "--parent", family.file("b"), family.file("c")])
    #expect(
      refused.status == 17 && refused.errors.contains("c.vhdx was merged past it"), "\(refused.summary)")
    #expect(try family.names == ["a", "b"])
    try runChecked(["mv", other, family.file("c")])
    #expect(try family.validOnlyBelow("c") == "c.vhdx")
  }

  @Test("A copy that was made before a later merge is not the source of that")
  func staleCopy() throws {
    let family = try MergedFamily("vhdx", MergeMarkTests.three)
    try family.mergeChecked("c", into: "a")
    try runChecked(["cp", family.file("c"), family.file("d")])
    #expect(try family.validOnlyBelow("d") == nil)
    try family.write("c", at: 12 << 20)
    try family.mergeChecked("c", into: "a", "force")
    #expect(try family.validOnlyBelow("c") == nil)
    #expect(try family.validOnlyBelow("d") == "c.vhdx")
  }
}
