import TestSupport
import Testing

@Suite("What cannot be merged, and says why")
struct MergeTests {
  let directory: TemporaryDirectory

  init() throws {
    directory = try TemporaryDirectory()
    try Vhdfs.create(directory.file("root.vhdx"), ["--size", "16M"])
    try Vhdfs.create(directory.file("child.vhdx"), ["--parent", directory.file("root.vhdx")])
    try Vhdfs.create(directory.file("leaf.vhdx"), ["--parent", directory.file("child.vhdx")])
    try Vhdfs.create(directory.file("stranger.vhdx"), ["--size", "16M"])
  }

  private func sums() throws -> [String] {
    try names(in: directory.path).sorted().map { try "\($0) \(sha256(ofFile: directory.file($0)))" }
  }

  private func expect(_ status: Int32, _ words: [String], _ parts: String...) throws {
    let before = try sums()
    let result = try Vhdfs.run(["merge"] + words)
    #expect(result.status == status, "\(result.summary)")
    #expect(result.output.isEmpty)
    for part in parts { #expect(result.errors.contains(part), "\(result.errors)") }
    #expect(try sums() == before)
  }

  @Test func whatHasNoParentIs12() throws {
    try expect(12, [directory.file("root.vhdx")], "root.vhdx: is not differencing")
  }

  @Test func whatIsNoAncestorIs15() throws {
    try expect(
      15, [directory.file("leaf.vhdx"), "--into", directory.file("stranger.vhdx")], "stranger.vhdx",
      "child.vhdx", "root.vhdx")
    try expect(15, [directory.file("leaf.vhdx"), "--into", directory.file("leaf.vhdx")], "leaf.vhdx")
  }

  @Test func aMissingFileIs21() throws {
    try expect(21, [directory.file("none.vhdx")], "none.vhdx")
    try expect(21, [directory.file("leaf.vhdx"), "--into", directory.file("none.vhdx")], "none.vhdx")
    try runChecked(["rm", directory.file("root.vhdx")])
    try expect(21, [directory.file("leaf.vhdx")], "root.vhdx")
  }

  @Test func aChildOfTheImageThatWouldBeLostIs17() throws {
    try expect(17, [directory.file("child.vhdx"), "--delete"], "leaf.vhdx", "relink")
  }

  @Test func whatAnotherWasMergedPastDoesNotOverwriteThatAlone() throws {
    try Vhdfs.runChecked(["merge", directory.file("leaf.vhdx"), "--into", directory.file("root.vhdx")])
    try expect(17, [directory.file("child.vhdx")], "child.vhdx: leaf.vhdx was merged past it", "force")
    // Nothing else has what the leaf held.
    try runChecked(["rm", directory.file("leaf.vhdx")])
    try expect(17, [directory.file("child.vhdx")], "child.vhdx: what it held was merged into", "remove it")
    try expect(17, [directory.file("child.vhdx"), "--force"], "child.vhdx: what it held was merged into")
  }

  @Test func whatWasMergedPastIsMergedByForce() throws {
    try Vhdfs.runChecked(["merge", directory.file("leaf.vhdx"), "--into", directory.file("root.vhdx")])
    try Vhdfs.runChecked(["merge", directory.file("child.vhdx"), "--force"])
  }

  @Test func childrenOfAVHDAreRelinked() throws {
    try Vhdfs.create(directory.file("a.vhd"), ["--size", "16M"])
    for (name, parent) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "c")] {
      try Vhdfs.create(directory.file("\(name).vhd"), ["--parent", directory.file("\(parent).vhd")])
    }
    try expect(17, [directory.file("c.vhd"), "--delete"], "d.vhd", "e.vhd", "relink")
    let before = try ["d", "e"].map { try sizes(of: directory.file("\($0).vhd")).size }
    let output = try Vhdfs.runChecked([
      "merge", directory.file("c.vhd"), "--into", directory.file("a.vhd"), "--delete", "--relink",
    ])
    #expect(output.contains("relinked_files 2\n"), "\(output)")
    for (index, name) in ["d", "e"].enumerated() {
      let chain = try Vhdfs.runChecked(["info", "--chain", directory.file("\(name).vhd")])
      #expect(chain.contains("a.vhd") && !chain.contains("c.vhd"), "\(chain)")
      #expect(try sizes(of: directory.file("\(name).vhd")).size == before[index])
    }
  }

  @Test func anImageInUseIs16() throws {
    // As QEMU locks what it has open.
    for name in ["leaf.vhdx", "child.vhdx"] {
      let holder = try RunningProgram(
        [
          "python3", "-c",
          """
          import fcntl, os, struct, sys, time
          fd = os.open(sys.argv[1], os.O_RDWR)
          for byte in (100, 101, 200, 201, 203):
            fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, byte, 1, 0))
          print("held", flush=True)
          time.sleep(60)
          """, directory.file(name),
        ])
      defer { holder.signal(9) }
      let isHeld = eventually(within: 20) {
        (try? Vhdfs.run(["merge", directory.file("leaf.vhdx"), "--dry-run"]).status) == 16
      }
      #expect(isHeld, "\(name)")
      try expect(16, [directory.file("leaf.vhdx")], name)
    }
  }

  @Test func aDryRunChangesNothing() throws {
    let before = try sums()
    let output = try Vhdfs.runChecked(["merge", directory.file("leaf.vhdx"), "--dry-run"])
    #expect(output.contains("merged_into \(directory.file("child.vhdx"))\n"))
    #expect(output.contains("bytes_copied 0\n") && output.contains("dry_run 1\n"), "\(output)")
    #expect(try sums() == before)
  }

  @Test func jsonNamesTheSameFacts() throws {
    let output = try Vhdfs.runChecked(["merge", directory.file("leaf.vhdx"), "--json", "--delete"])
    #expect(output.contains("\"merged_into\": \"\(directory.file("child.vhdx"))\""), "\(output)")
    #expect(output.contains("\"deleted_files\""), "\(output)")
    #expect(try names(in: directory.path).sorted() == ["child.vhdx", "root.vhdx", "stranger.vhdx"])
  }
}
