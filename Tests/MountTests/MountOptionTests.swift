import Glibc
import TestSupport
import Testing

extension MountTests {
  /// How a mount is asked for.
  struct MountOptionTests {
    private static let kind = ImageKind(format: "vhdx", kind: .dynamic, blockSize: "1M")

    /// The words that fstab, mount(8) and systemd pass are understood or passed over.
    @Test func calledAsMountDoes() throws {
      let workspace = try Workspace()
      let name = try workspace.make(Self.kind, size: "8M")
      let helper = workspace.root.file("mount.vhdfs")
      #expect(symlink(Vhdfs.program, helper) == 0)
      let options = "rw,nofail,_netdev,x-systemd.automount,x-systemd.device-timeout=10,noauto,user,defaults"
      try runChecked([helper, workspace.images, workspace.mountPoint, "-o", options])
      #expect(fileExists("\(workspace.mountPoint)/\(name)/disk"))
      try Vhdfs.runChecked(["unmount", workspace.mountPoint])
      try runChecked([helper, workspace.images, workspace.mountPoint, "-s", "-n", "-v", "-o", "ro"])
      #expect(open("\(workspace.mountPoint)/\(name)/disk", O_RDWR) == -1)
      try Vhdfs.runChecked(["unmount", workspace.mountPoint])
      let unknown = try run([helper, workspace.images, workspace.mountPoint, "-o", "shiny"])
      #expect(!unknown.succeeded && unknown.errors.contains("shiny"), "\(unknown.summary)")
      #expect(!VhdfsMount.isMountPoint(workspace.mountPoint))
    }

    @Test func ownersAndModes() throws {
      let workspace = try Workspace()
      let name = try workspace.make(Self.kind, size: "8M")
      func modes(_ path: String) throws -> String {
        try runChecked(["stat", "-c", "%a %u %g", path]).filter { $0 != "\n" }
      }
      let plain = try workspace.mount()
      #expect(try modes(plain.file(name)) == "600 0 0")
      #expect(try modes(plain.file(name, "control/info")) == "400 0 0")
      try plain.unmount()
      let owned = try workspace.mount("-o", "allow_other,uid=1234,gid=4321,umask=077")
      #expect(try modes(owned.file(name)).hasSuffix("1234 4321"))
      try owned.unmount()
    }

    /// Nothing of a read-only mount changes a byte, of a dirty log neither.
    @Test(.requiresCorpus)
    func readOnlyMountChangesNothing() throws {
      let workspace = try Workspace()
      let stored = Corpus.images.filter { $0.note.contains("dirty log") || $0.note.contains("DIRTY LOG") }
        .map(\.stored)
      #expect(stored.count >= 3)
      try Corpus.unpack(stored, into: workspace.images)
      let sources = try runChecked(["find", workspace.images, "-type", "f"]).split(separator: "\n").map(
        String.init)
      let before = try state(of: sources)
      let mount = try VhdfsMount(sources, at: workspace.mountPoint, ["-r"])
      for source in sources {
        let name = source.split(separator: "/").last.map(String.init) ?? ""
        #expect(try mount.fact("log_dirty", of: name) == "1")
        #expect(try OpenFile(mount.file(name)).read(at: 0, count: 1 << 20).count == 1 << 20)
        #expect(open(mount.file(name), O_RDWR) == -1 && errno == EROFS)
        _ = try mount.text(name, "control/map")
      }
      try mount.unmount()
      #expect(try state(of: sources) == before)

      // A writable mount that only reads changes nothing either.
      let writable = try VhdfsMount(sources, at: workspace.mountPoint)
      for source in sources {
        let name = source.split(separator: "/").last.map(String.init) ?? ""
        #expect(try OpenFile(writable.file(name)).read(at: 0, count: 1 << 20).count == 1 << 20)
        let file = try OpenFile(writable.file(name), O_RDWR)
        try file.sync()
      }
      try writable.unmount()
      #expect(try state(of: sources) == before)
    }

    private func state(of files: [String]) throws -> String {
      try runChecked(["sha256sum"] + files) + runChecked(["stat", "-c", "%n %s %y"] + files)
    }

    @Test func twoImagesOfOneNameAreRefused() throws {
      let workspace = try Workspace()
      let name = try workspace.make(Self.kind, size: "8M")
      let other = try workspace.root.directory("other")
      try runChecked(["cp", workspace.image(name), other])
      let result = try Vhdfs.run(["mount", workspace.images, other, workspace.mountPoint])
      #expect(!result.succeeded && result.errors.contains(name), "\(result.summary)")
      #expect(!VhdfsMount.isMountPoint(workspace.mountPoint))
      if VhdfsMount.isMountPoint(workspace.mountPoint) {
        try Vhdfs.runChecked(["unmount", workspace.mountPoint])
      }
    }

    @Test func errorsBeforeTheMountReachTheTerminal() throws {
      let workspace = try Workspace()
      let missing = try Vhdfs.run(["mount", workspace.image("none.vhdx"), workspace.mountPoint])
      #expect(!missing.succeeded && missing.errors.contains("none.vhdx"), "\(missing.summary)")
      let nowhere = try Vhdfs.run(["mount", workspace.images, workspace.root.file("nowhere")])
      #expect(!nowhere.succeeded && nowhere.errors.contains("nowhere"), "\(nowhere.summary)")
    }

    /// Parents are found in the directories that are named, and nowhere else.
    @Test func parentsAreLookedForWhereTheUserSays() throws {
      let workspace = try Workspace()
      let name = try workspace.make(ImageKind.main[1], size: "8M")
      let elsewhere = try workspace.root.directory("elsewhere")
      try runChecked(["mv", workspace.image("image-parent.vhdx"), elsewhere])
      let without = try workspace.mount()
      #expect(throws: TestFailure.self) { _ = try OpenFile(without.file(name)).read(at: 0, count: 1) }
      #expect(try without.text(name, "control/error").contains("image-parent.vhdx"))
      try without.unmount()
      let with = try workspace.mount("--parents", elsewhere)
      #expect(try OpenFile(with.file(name)).read(at: 0, count: 1) == [0])
      try with.unmount()
    }
  }
}
