import Glibc
import TestSupport
import Testing

/// Images whose contents are told apart, each a child of the one before unless said otherwise.
struct MergedFamily {
  let workspace: Workspace
  let format: String

  /// - Parameter images: names of a child and its parent; the first has none.
  init(_ format: String, _ images: [(String, String?)]) throws {
    workspace = try Workspace()
    self.format = format
    for (index, (name, parent)) in images.enumerated() {
      try create(name, parent)
      try write(name, at: UInt64(index + 1) << 20)
    }
  }

  func file(_ name: String) -> String { workspace.image("\(name).\(format)") }

  func create(_ name: String, _ parent: String?) throws {
    try Vhdfs.create(file(name), parent.map { ["--parent", file($0)] } ?? ["--size", "16M"])
  }

  func write(_ name: String, at offset: UInt64) throws {
    let mount = try workspace.mount()
    let file = try OpenFile(mount.file("\(name).\(format)"), O_RDWR)
    try file.write(pattern(seed: offset, count: 70_000), at: offset)
    try file.sync()
    _ = consume file
    try mount.unmount()
  }

  func contents(_ names: String...) throws -> [String] {
    let mount = try workspace.mount("-r")
    let sums = try names.map { try sha256(ofFile: mount.file("\($0).\(format)")) }
    try mount.unmount()
    return sums
  }

  /// Runs `vhdfs merge`; names stand for their files.
  func merge(_ name: String, into: String? = nil, _ words: String..., under: [String] = []) throws
    -> ProgramResult
  {
    try run(
      under + [Vhdfs.program, "merge", file(name)] + (into.map { ["--into", file($0)] } ?? [])
        + words.map { "--\($0)" })
  }

  func mergeChecked(_ name: String, into: String? = nil, _ words: String...) throws {
    let result = try run(
      [Vhdfs.program, "merge", file(name)] + (into.map { ["--into", file($0)] } ?? [])
        + words.map { "--\($0)" })
    guard result.succeeded else { throw TestFailure(result.summary) }
  }

  func validOnlyBelow(_ name: String) throws -> String? {
    try Vhdfs.runChecked(["info", file(name)]).split(separator: "\n")
      .first { $0.hasPrefix("valid_only_below ") }.map { String($0.dropFirst(17)) }
  }

  /// The images that are there.
  var names: [String] {
    get throws {
      try TestSupport.names(in: workspace.images).filter { $0.hasSuffix(".\(format)") }.map {
        String($0.dropLast(format.count + 1))
      }
    }
  }

  /// strace(1) that lets a system call fail, or kills the program there.
  static func failing(_ call: String, _ how: String) -> [String] {
    ["strace", "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e", "inject=\(call):\(how)"]
  }
}

@Suite(
  "What is left of a merge that ended while files were relinked and removed",
  .requiresMount, .requiresPrograms("strace"))
struct MergeEndingTests {
  @Test("Run again it only finishes, and nothing is lost", arguments: ["vhdx", "vhd"])
  func removalThatFailed(format: String) throws {
    let family = try MergedFamily(format, [("a", nil), ("c", "a"), ("g", "c"), ("h", "c")])
    let before = try family.contents("g", "h", "c")
    let failed = try family.merge(
      "c", "delete", "relink", under: MergedFamily.failing("unlinkat", "error=EACCES:when=2"))
    #expect(failed.status == 11, "\(failed.summary)")
    for part in [
      "a.\(format): everything is merged into it", "g.\(format)", "h.\(format)", "remove them yourself",
    ] {
      #expect(failed.errors.contains(part), "\(failed.errors)")
    }
    #expect(!failed.errors.contains("force"))
    #expect(try family.contents("g", "h", "a") == before)
    let dry = try family.merge("c", "delete", "dry-run")
    #expect(dry.output.contains("already_merged 1\n"), "\(dry.summary)")
    // Even where it is forced: the destination is not changed.
    let again = try family.merge("c", "delete", "force")
    #expect(
      again.status == 0 && again.output.contains("bytes_copied 0\nalready_merged 1\n"), "\(again.summary)")
    #expect(try family.names == ["a", "g", "h"])
    #expect(try family.contents("g", "h", "a") == before)
  }

  @Test(
    "Cut off between two children that are relinked, the next run does the rest", arguments: ["vhdx", "vhd"])
  func relinkingThatWasCutOff(format: String) throws {
    let family = try MergedFamily(format, [("a", nil), ("c", "a"), ("g", "c"), ("h", "c")])
    let before = try family.contents("g", "h")
    try family.mergeChecked("c")
    var isCut = false
    for number in 1...40 where !isCut {
      let killed = try family.merge(
        "c", "delete", "relink", under: MergedFamily.failing("fdatasync", "signal=KILL:when=\(number)"))
      #expect(killed.status != 0, "\(killed.summary)")
      let chain = try Vhdfs.runChecked(["info", "--chain", family.file("g")])
      isCut = !chain.contains("c.\(format)")
      #expect(try family.contents("g", "h") == before)
    }
    #expect(isCut)
    let again = try family.merge("c", "delete", "relink")
    #expect(again.status == 0, "\(again.summary)")
    #expect(try family.names == ["a", "g", "h"])
    #expect(try family.contents("g", "h") == before)
  }

  @Test("A file between that a killed removal left is of no use, and is never merged")
  func leftover() throws {
    let family = try MergedFamily("vhdx", [("a", nil), ("b", "a"), ("c", "b")])
    let before = try family.contents("c")
    let killed = try family.merge(
      "c", into: "a", "delete", under: MergedFamily.failing("unlinkat", "signal=KILL:when=3"))
    #expect(killed.status == 137, "\(killed.summary)")
    #expect(try family.names == ["a", "b"])
    for words in [[], ["--force"]] {
      let refused = try Vhdfs.run(["merge", family.file("b")] + words)
      #expect(refused.status == 17 && refused.errors.contains("of no use"), "\(refused.summary)")
      #expect(!refused.errors.contains("force"), "\(refused.errors)")
    }
    #expect(try family.contents("a") == before)
    try family.mergeChecked("b", "delete")
    #expect(try family.names == ["a"])
    #expect(try family.contents("a") == before)
  }

  @Test("What is left of VHDs cannot be opened, and the sentence says why")
  func leftoverOfVHD() throws {
    let family = try MergedFamily("vhd", [("a", nil), ("b", "a"), ("c", "b")])
    let before = try family.contents("c")
    _ = try family.merge(
      "c", into: "a", "delete", under: MergedFamily.failing("unlinkat", "signal=KILL:when=3"))
    #expect(try family.names == ["a", "c"])
    let refused = try family.merge("c", "delete")
    #expect(refused.status == 21 && refused.errors.contains("with delete was cut off"), "\(refused.summary)")
    #expect(try family.contents("a") == before)
  }

  @Test("A leftover that was written since is not removed")
  func leftoverWritten() throws {
    let family = try MergedFamily("vhdx", [("a", nil), ("b", "a"), ("c", "b")])
    try family.mergeChecked("c", into: "a")
    try runChecked(["rm", family.file("c")])
    try family.write("b", at: 9 << 20)
    for words in [[], ["--force"], ["--delete"]] {
      let refused = try Vhdfs.run(["merge", family.file("b")] + words)
      #expect(refused.status == 17 && refused.errors.contains("reads wrong"), "\(refused.summary)")
    }
  }

  @Test("Points made after the merge are not left behind", arguments: ["vhdx", "vhd"])
  func pointsMadeSince(format: String) throws {
    let family = try MergedFamily(format, [("a", nil), ("c", "a")])
    try Vhdfs.runChecked(["tracking", family.file("c"), "on"])
    try family.create("g", "c")
    try family.mergeChecked("c")
    try family.mergeChecked("c", "relink")
    try Vhdfs.runChecked(["point", "create", family.file("c"), "late"])
    let refused = try family.merge("c", "delete")
    #expect(
      refused.status == 17 && refused.errors.contains("points that were made since"), "\(refused.summary)")
    #expect(refused.errors.contains("g.\(format)") && !refused.errors.contains("force"), "\(refused.errors)")
    #expect(try family.names == ["a", "c", "g"])
    try Vhdfs.runChecked(["tracking", family.file("c"), "off"])
    try family.mergeChecked("c", "delete")
    #expect(try family.names == ["a", "g"])
  }

  @Test("Whether the files can be removed is looked at before")
  func removalIsAllowed() throws {
    let family = try MergedFamily("vhdx", [("a", nil), ("c", "a")])
    let sums = try ["a", "c"].map { try sha256(ofFile: family.file($0)) }
    let refused = try family.merge(
      "c", "delete", under: MergedFamily.failing("faccessat,faccessat2", "error=EACCES"))
    #expect(refused.status == 11 && refused.errors.contains("cannot be removed"), "\(refused.summary)")
    #expect(try ["a", "c"].map { try sha256(ofFile: family.file($0)) } == sums)
  }
}
