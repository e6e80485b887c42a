import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What a mount knows of the children of its images, and how it tells names apart.
  @Suite struct OtherChildrenTests {
    @Test(arguments: ["vhd", "vhdx"])
    func aSiblingBesideAParentElsewhere(format: String) throws {
      let workspace = try Workspace()
      let bases = try workspace.root.directory("bases")
      try Vhdfs.create("\(bases)/base.\(format)", ["--size", "16M"])
      for child in [workspace.image("child.\(format)"), "\(bases)/sibling.\(format)"] {
        try Vhdfs.create(child, ["--parent", "\(bases)/base.\(format)"])
      }
      let mount = try workspace.mount("--parents", bases)
      let order = mount.file("child.\(format)", "control/merge")
      #expect(TrackingTests.order("", order) == EPERM)
      let sentence = try mount.text("child.\(format)", "control/error")
      #expect(sentence.contains("\(bases)/sibling.\(format)"), "\(sentence)")
      try runChecked(["rm", "\(bases)/sibling.\(format)"])
      #expect(TrackingTests.order("", order) == 0)
      try mount.unmount()
    }

    /// A child whose ending is no image's is not shown, and is a child all the same.
    @Test func aParentOfAChildWithAnotherEndingIsNotWritten() throws {
      let workspace = try Workspace()
      try workspace.create("base.vhdx", "--size", "16M")
      try workspace.create("snap.img", "--format", "vhdx", "--parent", workspace.image("base.vhdx"))
      let mount = try workspace.mount()
      #expect(try names(in: mount.path) == ["base.vhdx"])
      #expect(open(mount.file("base.vhdx"), O_RDWR) == -1 && errno == EROFS)
      #expect(try mount.fact("read_only", of: "base.vhdx") == "1")
      #expect(try mount.fact("reason", of: "base.vhdx")?.contains("snap.img") == true)
      try runChecked(["rm", workspace.image("snap.img")])
      #expect(try mount.fact("read_only", of: "base.vhdx") == "0")
      _ = try OpenFile(mount.file("base.vhdx"), O_RDWR)
      try mount.unmount()
    }

    @Test func whatAnotherWasMergedPastTellsNoChanges() throws {
      let workspace = try Workspace()
      try workspace.create("root.vhdx", "--size", "16M")
      for (child, parent) in [("middle", "root"), ("leaf", "middle")] {
        try workspace.create("\(child).vhdx", "--parent", workspace.image("\(parent).vhdx"))
      }
      let mount = try workspace.mount("--track")
      #expect(TrackingTests.order("on", mount.file("leaf.vhdx", "control/tracking")) == 0)
      #expect(mkdir(mount.file("leaf.vhdx", "points/monday"), 0o777) == 0)
      #expect(TrackingTests.order("root.vhdx", mount.file("leaf.vhdx", "control/merge")) == 0)
      #expect(try mount.fact("valid_only_below", of: "middle.vhdx") == "leaf.vhdx")
      let answer = open(mount.file("middle.vhdx", "control/changes?limit=parent"), O_RDONLY)
      #expect(answer == -1 && errno == EPERM)
      let sentence = try mount.text("middle.vhdx", "control/error")
      #expect(
        sentence.contains("leaf.vhdx was merged past it") && sentence.contains("full copy"), "\(sentence)")
      _ = try textOfFile(mount.file("leaf.vhdx", "control/changes?limit=monday"))
      // A point on what shows no state of a disk. Its only child would keep it from being written.
      try runChecked(["mv", workspace.image("leaf.vhdx"), workspace.root.path])
      #expect(eventually(within: 10) { (try? names(in: mount.path).contains("leaf.vhdx")) == false })
      #expect(TrackingTests.order("on", mount.file("middle.vhdx", "control/tracking")) == 0)
      #expect(mkdir(mount.file("middle.vhdx", "points/monday"), 0o777) == -1 && errno == EPERM)
      #expect(try mount.text("middle.vhdx", "control/error").contains("merged past it"))
      try mount.unmount()
    }

    /// Two names that look the same, and one that is no text.
    @Test func namesAreToldApartByTheirBytes() throws {
      let workspace = try Workspace()
      let twins = ["caf\u{E9}.vhdx", "cafe\u{301}.vhdx"]
      for (number, name) in twins.enumerated() {
        try workspace.create(name, "--size", "\(number + 4)M")
      }
      try workspace.create("x.vhdx", "--size", "16M")
      let bytes = Array(workspace.image("s").utf8) + [0xE9] + Array(".vhdx".utf8) + [0]
      #expect(rename(workspace.image("x.vhdx"), bytes.map(CChar.init(bitPattern:))) == 0)
      try workspace.create("s\u{FFFD}.vhdx", "--size", "8M")

      let mount = try workspace.mount()
      #expect(try names(in: mount.path).count == 3)
      for (name, megabytes) in [(twins[0], 4), (twins[1], 5), ("s\u{FFFD}.vhdx", 8)] {
        #expect(try mount.fact("virtual_size", of: name) == String(megabytes << 20))
        #expect(try OpenFile(mount.file(name)).size == UInt64(megabytes << 20))
      }
      try mount.unmount()
    }
  }
}
