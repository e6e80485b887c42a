import Glibc
import TestSupport
import Testing

/// The command `job`, with jobs of a mount that another process serves.
@Suite(.requiresMount, .serialized) struct JobTests {
  @Test(.requiresPrograms("python3")) func listShowAndCancel() throws {
    let merge = try LongMerge()
    let mount = try merge.space.mount()
    #expect(try Vhdfs.runChecked(["job", "list", mount.path]).isEmpty)
    try order("async", mount.file("child.vhdx", "control/merge"))
    #expect(try mount.fact("state", of: "child.vhdx") == "busy")
    let began = now()
    try Vhdfs.runChecked(["job", "cancel", merge.child])
    #expect(now() - began < 2)
    #expect(try mount.fact("state", of: "child.vhdx") == "offline")
    #expect(try Vhdfs.runChecked(["job", "list", mount.path]).hasPrefix("job 1 merge cancelled "))
    #expect(
      try Vhdfs.runChecked(["job", "list", mount.file("child.vhdx", "control")]).hasSuffix(" child.vhdx\n"))
    #expect(try Vhdfs.runChecked(["job", "list", merge.space.image("base.vhdx")]).isEmpty)
    let shown = try Vhdfs.runChecked(["job", "show", merge.child])
    #expect(try shown == mount.text("child.vhdx", "control/job"))
    #expect(
      shown.contains("\nchild \(merge.child)\n")
        && shown.contains("\nparent \(merge.space.image("base.vhdx"))\n"))
    let ended = try Vhdfs.run(["job", "cancel", mount.path, "1"])
    #expect(ended.status == 17 && ended.errors.contains("has ended already"), "\(ended.summary)")
    // It can be run again, and a list is JSON.
    try order("", mount.file("child.vhdx", "control/merge"))
    let list = try Vhdfs.runChecked(["job", "list", "--json", mount.path])
    let states = try runChecked(
      [
        "python3", "-c",
        "import json, sys; print([job['job_state'] for job in json.loads(sys.argv[1])['jobs']])", list,
      ])
    #expect(states == "['8 cancelled', '7 completed']\n")
    try mount.unmount()
  }

  /// A job that runs is cancelled and not called ended, whether its image is still there or not.
  @Test func aJobWhoseImageIsGone() throws {
    let merge = try LongMerge()
    let mount = try merge.space.mount()
    try order("async", mount.file("child.vhdx", "control/merge"))
    try runChecked(["rm", merge.child])
    #expect(eventually(within: 5) { !fileExists(mount.file("child.vhdx")) })
    let began = now()
    try Vhdfs.runChecked(["job", "cancel", mount.path, "1"])
    #expect(now() - began < 2)
    let shown = try Vhdfs.runChecked(["job", "show", mount.file("child.vhdx", "control")])
    #expect(shown.contains("job_state 8 "))
    #expect(try Vhdfs.runChecked(["job", "list", mount.path]).hasPrefix("job 1 merge cancelled "))
    let ended = try Vhdfs.run(["job", "cancel", mount.path, "1"])
    #expect(ended.status == 17 && ended.errors.contains("has ended already"), "\(ended.summary)")
    try mount.unmount()
  }

  /// The job of a file that another has replaced is not that one's; its number finds it.
  @Test func aJobWhoseFileWasReplaced() throws {
    let merge = try LongMerge()
    try merge.space.create("base.vhdx.new", "--size", "64M", "--format", "vhdx")
    let mount = try merge.space.mount()
    try order("async", mount.file("child.vhdx", "control/merge"))
    try runChecked(["mv", merge.space.image("base.vhdx.new"), merge.child])
    #expect(try eventually(within: 5) { try mount.text("child.vhdx", "control/job").isEmpty })
    let last = try Vhdfs.run(["job", "cancel", merge.child])
    #expect(last.status == 31, "\(last.summary)")
    try Vhdfs.runChecked(["job", "cancel", merge.child, "1"])
    #expect(try Vhdfs.runChecked(["job", "list", merge.child]).hasPrefix("job 1 merge cancelled "))
    try mount.unmount()
  }

  @Test func aNameWithAnythingInIt() throws {
    let name = "a\\b\n\"'.vhdx"
    let space = try Workspace()
    try space.create(name, "--size", "64M")
    let mount = try space.mount()
    try order("", mount.file(name, "control/compact"))
    let line = "job 1 compact completed 100 " + #"a\134b\012"'.vhdx"# + "\n"
    for place in [mount.path, mount.file(name, "control"), space.image(name)] {
      #expect(try Vhdfs.runChecked(["job", "list", place]) == line)
    }
    let ended = try Vhdfs.run(["job", "cancel", mount.path, "1"])
    #expect(ended.status == 17 && ended.errors.contains("has ended already"), "\(ended.summary)")
    try mount.unmount()
  }

  @Test func thereIsNoSuchJob() throws {
    let space = try Workspace()
    try space.create("a.vhdx", "--size", "64M")
    for words in [
      ["list", space.images], ["show", space.image("a.vhdx")], ["cancel", space.image("none.vhdx")],
    ] {
      let result = try Vhdfs.run(["job"] + words)
      #expect(result.status == 31 && result.output.isEmpty, "\(result.summary)")
    }
    let mount = try space.mount()
    for (words, status) in [
      (["show", mount.path], 15), (["show", mount.path, "1"], 31), (["show", space.image("a.vhdx")], 31),
      (["cancel", mount.path, "7"], 31), (["show"], 64), (["show", mount.path, "x"], 64),
    ] {
      let result = try Vhdfs.run(["job"] + words)
      #expect(result.status == Int32(status) && result.output.isEmpty, "\(result.summary)")
    }
    try mount.unmount()
  }

  @Test func aStopCancelsAndWaits() throws {
    let merge = try LongMerge()
    let mount = try merge.space.mount()
    try order("async", mount.file("child.vhdx", "control/merge"))
    mount.server.signal(SIGTERM)
    let result = mount.server.wait(timeout: 10)
    #expect(result.succeeded, "\(result.summary)")
    #expect(
      result.errors.contains("asked to stop: job 1 (merge) of child.vhdx is cancelled"), "\(result.summary)")
    // The chain reads, and the merge can be run again.
    try Vhdfs.runChecked(["merge", merge.child])
    try runChecked(["qemu-img", "check", "-q", merge.space.image("base.vhdx")])
  }
}
