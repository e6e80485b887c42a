import Glibc
import TestSupport
import Testing

extension MountTests {
  /// The tree follows the directories.
  struct DiscoveryTests {
    private static let kind = ImageKind(format: "vhdx", kind: .dynamic, blockSize: "1M")

    @Test func imagesAppearAndVanish() throws {
      let workspace = try Workspace()
      let first = try workspace.make(Self.kind, size: "8M", name: "first")
      let elsewhere = workspace.root.file("elsewhere.vhdx")
      try runChecked(["cp", workspace.image(first), elsewhere])
      let mount = try workspace.mount()
      #expect(try visible(mount) == ["first.vhdx"])
      // Made in place, moved in, linked in by another name, and moved away.
      try runChecked(["cp", elsewhere, workspace.image("copied.vhdx")])
      try runChecked(["mv", elsewhere, workspace.image("moved.vhdx")])
      try Vhdfs.create(workspace.image("made.vhd"), ["--size", "8M"])
      try writeFile(workspace.image("notes.txt"), Array("no image".utf8))
      #expect(
        eventually(within: 2) {
          (try? visible(mount)) == ["copied.vhdx", "first.vhdx", "made.vhd", "moved.vhdx"]
        })
      #expect(try OpenFile(mount.file("copied.vhdx")).read(at: 0, count: 512).count == 512)
      unlink(workspace.image("copied.vhdx"))
      rename(workspace.image("moved.vhdx"), workspace.root.file("gone.vhdx"))
      #expect(eventually(within: 2) { (try? visible(mount)) == ["first.vhdx", "made.vhd"] })
      #expect(!fileExists(mount.file("copied.vhdx")))
      try mount.unmount()
    }

    @Test func halfCopiedImageIsTriedAgain() throws {
      let workspace = try Workspace()
      let good = try workspace.make(Self.kind, size: "8M", name: "good")
      var model = DiskModel(size: 8 << 20)
      let first = try workspace.mount()
      let bytes = pattern(seed: 1, count: 8 << 20)
      try OpenFile(first.file(good), O_RDWR).write(bytes, at: 0)
      model.write(bytes, at: 0)
      try first.unmount()

      let mount = try workspace.mount()
      let source = try OpenFile(workspace.image(good))
      let contents = try source.read(at: 0, count: Int(source.size))
      let target = try OpenFile(workspace.image("late.vhdx"), O_WRONLY | O_CREAT)
      try target.write(Array(contents.prefix(100_000)), at: 0)
      #expect(eventually(within: 2) { (try? mount.fact("state", of: "late.vhdx")) == "error" })
      #expect(throws: TestFailure.self) { _ = try OpenFile(mount.file("late.vhdx")).read(at: 0, count: 1) }
      try target.write(Array(contents.dropFirst(100_000)), at: 100_000)
      _ = consume target
      #expect(eventually(within: 2) { (try? mount.fact("state", of: "late.vhdx")) == "offline" })
      #expect(eventually(within: 2) { fileExists(mount.file("late.vhdx")) })
      #expect(try model.firstDifference(inFile: mount.file("late.vhdx")) == nil)
      try mount.unmount()
    }

    @Test func brokenImageDoesNotDisturbTheOthers() throws {
      let workspace = try Workspace()
      let good = try workspace.make(Self.kind, size: "8M", name: "good")
      try writeFile(workspace.image("broken.vhdx"), Array("vhdxfile".utf8) + pattern(seed: 2, count: 1 << 20))
      try writeFile(workspace.image("empty.vhd"), [])
      // Links are not followed, and what is no regular file is no image.
      symlink("/etc/passwd", workspace.image("link.vhdx"))
      mkfifo(workspace.image("fifo.vhdx"), 0o600)
      try runChecked(["mkdir", workspace.image("directory.vhdx")])
      let mount = try workspace.mount()
      #expect(try visible(mount) == ["broken.vhdx", "empty.vhd", "good.vhdx"])
      for name in ["broken.vhdx", "empty.vhd"] {
        #expect(try mount.fact("state", of: name) == "error")
        let info = try mount.text(name, "control/info")
        #expect(info.contains("reason") && info.contains(name), "\(info)")
        #expect(throws: TestFailure.self) { _ = try OpenFile(mount.file(name)).read(at: 0, count: 1) }
      }
      let file = try OpenFile(mount.file(good), O_RDWR)
      try file.write([1, 2, 3], at: 12345)
      #expect(try file.read(at: 12345, count: 3) == [1, 2, 3])
      _ = consume file
      try mount.unmount()
    }

    /// An image that was replaced by another of the same name is the other.
    @Test func replacedImageIsTheNewOne() throws {
      let workspace = try Workspace()
      let name = try workspace.make(Self.kind, size: "8M")
      let mount = try workspace.mount()
      #expect(try mount.fact("virtual_size", of: name) == "8388608")
      try Vhdfs.create(workspace.root.file("new.vhdx"), ["--size", "16M"])
      rename(workspace.root.file("new.vhdx"), workspace.image(name))
      #expect(eventually(within: 2) { (try? mount.fact("virtual_size", of: name)) == "16777216" })
      #expect(eventually(within: 2) { (try? sizes(of: mount.file(name)).size) == 16 << 20 })
      #expect(try OpenFile(mount.file(name)).read(at: 12 << 20, count: 10).count == 10)
      try mount.unmount()
    }

    /// A parent whose child is known is not written, and says why; without the child it is.
    @Test func parentOfAKnownChildIsReadOnly() throws {
      let workspace = try Workspace()
      let child = try workspace.make(ImageKind.main[1], size: "8M")
      let parent = "image-parent.vhdx"
      let mount = try workspace.mount()
      let refused = open(mount.file(parent), O_RDWR | O_CLOEXEC)
      #expect(refused == -1 && errno == EROFS, "\(refused) \(String(cString: strerror(errno)))")
      #expect(try mount.fact("read_only", of: parent) == "1")
      #expect(try mount.fact("reason", of: parent)?.contains(child) == true)
      #expect(try OpenFile(mount.file(parent)).read(at: 0, count: 10).count == 10)
      unlink(workspace.image(child))
      #expect(eventually(within: 3) { (try? mount.fact("read_only", of: parent)) == "0" })
      try OpenFile(mount.file(parent), O_RDWR).write([1], at: 0)
      try mount.unmount()
    }

    private func visible(_ mount: VhdfsMount) throws -> [String] {
      try names(in: mount.path).filter { !$0.hasPrefix(".") }
    }
  }
}
