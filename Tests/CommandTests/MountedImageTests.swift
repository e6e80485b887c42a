import Glibc
import TestSupport
import Testing

/// What commands say that would change an image which a mount shows: the truth, and what to do.
@Suite(.requiresMount, .serialized) struct MountedImageTests {
  /// A dry run changes nothing: a read-only mount does not keep anybody from it.
  @Test func aDryRunBesideAReadOnlyMount() throws {
    let space = try Workspace()
    try space.create("base.vhdx", "--size", "64M")
    try space.create("child.vhdx", "--parent", space.image("base.vhdx"))
    let child = space.image("child.vhdx")
    let before = try runChecked(["sha256sum", child, space.image("base.vhdx")])
    let mount = try space.mount("-r")
    #expect(try Vhdfs.runChecked(["compact", "--dry-run", child]).contains("dry_run 1\n"))
    #expect(try Vhdfs.runChecked(["merge", "--dry-run", child]).contains("dry_run 1\n"))
    for words in [
      ["compact", child], ["merge", child], ["tracking", child, "on"], ["point", "create", child, "p"],
    ] {
      let result = try Vhdfs.run(words)
      #expect(result.status == 16, "\(result.summary)")
      #expect(
        result.errors.contains(
          "is mounted read-only at \(mount.path), and is not changed meanwhile; unmount it"))
    }
    // Nobody uses it while a disk above it is open.
    var disk: OpenFile? = try OpenFile(mount.file("child.vhdx"))
    #expect(try disk?.read(at: 0, count: 512).count == 512)
    let result = try Vhdfs.run(["compact", "--dry-run", child])
    #expect(result.status == 16, "\(result.summary)")
    disk = nil
    try mount.unmount()
    #expect(try runChecked(["sha256sum", child, space.image("base.vhdx")]) == before)
  }

  /// What is said to do instead can be given to a shell as it is said.
  @Test(
    .requiresPrograms("bash"),
    arguments: [
      "plain.vhdx", "with blank.vhdx", "it's \"quoted\" $(x) `y`.vhdx", "back\\slash\\134.vhdx",
      "new\nline'\u{1B}\\.vhdx",
      "späte \u{202E}Größe'\u{301}.vhdx",
    ]) func theLineInsteadWorks(_ name: String) throws
  {
    let space = try Workspace()
    // A parent's path has no backslash in it.
    let parent = name.replacing("\\", with: "")
    try space.create(parent, "--size", "64M")
    try space.create("child of \(name)", "--parent", space.image(parent))
    let mount = try space.mount()
    let (image, child) = (space.image(parent), space.image("child of \(name)"))
    for words in [
      ["compact", child], ["compact", child, "--mode", "full", "--dry-run"],
      ["compact", image, "--mode", "4"],
      ["merge", child, "--dry-run"], ["merge", child, "--into", image, "--dry-run"],
    ] {
      let refused = try Vhdfs.run(words)
      #expect(refused.status == 16, "\(refused.summary)")
      #expect(!refused.errors.dropLast().utf8.contains { $0 < 0x20 }, "\(refused.summary)")
      let line = try #require(refused.errors.split(separator: "do it there: ").last?.dropLast())
      let done = try run(["bash", "-c", String(line)])
      #expect(done.succeeded && done.output.isEmpty, "\(done.summary)")
      let of = words[1] == child ? "child of \(name)" : parent
      let job = try mount.text(of, "control/job")
      #expect(job.contains("operation \(words[0])\n") && job.contains("job_state 7 "), "\(line)\n\(job)")
      #expect(words.contains("--dry-run") == job.contains("dry_run 1\n"), "\(line)\n\(job)")
    }
    try mount.unmount()
  }
}
