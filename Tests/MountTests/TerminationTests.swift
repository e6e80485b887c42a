import Glibc
import TestSupport
import Testing

extension MountTests {
  /// How a mount ends.
  struct TerminationTests {
    /// With nothing open, SIGTERM unmounts and leaves clean files.
    @Test(arguments: ImageKind.typical)
    func terminationWithNothingOpen(kind: ImageKind) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "8M")
      var model = DiskModel(size: 8 << 20)
      let mount = try workspace.mount()
      let bytes = pattern(seed: 1, count: 3_000_000)
      try OpenFile(mount.file(name), O_RDWR).write(bytes, at: 1_000_000)
      model.write(bytes, at: 1_000_000)
      mount.server.signal(SIGTERM)
      let result = mount.server.wait(timeout: 20)
      #expect(result.succeeded, "\(result.summary)")
      #expect(!VhdfsMount.isMountPoint(mount.path))
      try Oracles.compare(workspace.image(name), kind, with: model)
    }

    /// What was written and could not be brought home, because the host was full, is told to whoever unmounts; the
    /// close alone may have told nobody.
    @Test func lossOnAFullHostIsToldAtTheEnd() throws {
      let workspace = try Workspace()
      let full = try workspace.root.directory("full")
      try runChecked(["mount", "-t", "tmpfs", "-o", "size=16m", "none", full])
      defer { _ = try? run(["umount", "-l", full]) }
      var last: ProgramResult?
      // On a slow machine the commit that comes by itself may find room before the host is full: try again.
      for _ in 0..<5 {
        // The log gets no room before it is written: then the host is full.
        unlink(full + "/a.vhdx")
        try Vhdfs.create(full + "/a.vhdx", ["--size", "64M"])
        try runChecked([
          "fallocate", "--punch-hole", "--offset", "1MiB", "--length", "1MiB", full + "/a.vhdx",
        ])
        let mount = try VhdfsMount([full], at: workspace.mountPoint, keeping: workspace)
        do {
          let file = try OpenFile(mount.file("a.vhdx"), O_RDWR)
          let bytes = pattern(seed: 1, count: 65536)
          let refused = stride(from: 0, to: 64 << 20, by: bytes.count).contains {
            pwrite(file.descriptor, bytes, bytes.count, off_t($0)) < 0
          }
          #expect(refused)
        }
        let result = try Vhdfs.run(["unmount", mount.path])
        last = result
        #expect(!VhdfsMount.isMountPoint(mount.path))
        if result.status != 0 { break }
      }
      let ended = try #require(last)
      #expect(ended.status == 10, "\(ended.summary)")
      #expect(ended.errors.contains("No space left on device"), "\(ended.summary)")
      // Nothing of it is damaged.
      #expect(try Vhdfs.run(["map", full + "/a.vhdx"]).succeeded)
    }

    /// Under a mounted file system, SIGTERM lets all go on to the last release, and then ends cleanly.
    @Test(.requiresLoopDevice, arguments: ImageKind.main)
    func terminationUnderALoadedFileSystem(kind: ImageKind) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "256M")
      let mount = try workspace.mount()
      let device = try LoopDevice(mount.file(name), ["--direct-io=on"])
      try runChecked(["mkfs.ext4", "-q", "-F", device.path])
      let inside = try MountedFileSystem(device.path, at: workspace.root.directory("inside"))
      let load = try RunningProgram([
        "sh", "-c",
        "set -e; i=0; while [ $i -lt 60 ]; do dd if=/dev/urandom of=\"$1/f$i\" bs=64k count=32 conv=fsync status=none; "
          + "i=$((i+1)); done", "sh", inside.path,
      ])
      usleep(300_000)
      mount.server.signal(SIGTERM)
      let ended = load.wait(timeout: 60)
      #expect(ended.succeeded, "writing failed after SIGTERM: \(ended.summary)")
      #expect(mount.server.isRunning, "the server ended under an open file")
      // A new open is refused.
      #expect(throws: TestFailure.self) { _ = try OpenFile(mount.file(name)) }
      try runChecked(["sync", "-f", inside.path])
      try inside.unmount()
      try device.detach()
      let result = mount.server.wait(timeout: 30)
      #expect(result.succeeded, "\(result.summary)")
      #expect(!VhdfsMount.isMountPoint(mount.path))
      try Oracles.expectCleanLog(workspace.image(name))

      let again = try workspace.mount("-r")
      let second = try LoopDevice(again.file(name), ["-r"])
      let check = try run(["fsck.ext4", "-f", "-n", second.path])
      #expect(check.succeeded, "\(check.summary)")
      try second.detach()
      try again.unmount()
    }

    /// A second SIGTERM does not wait for whoever has a file open.
    @Test func secondTerminationForcesTheEnd() throws {
      let workspace = try Workspace()
      let name = try workspace.make(ImageKind.main[0], size: "8M")
      let mount = try workspace.mount()
      let file = try OpenFile(mount.file(name), O_RDWR)
      try file.write(pattern(seed: 2, count: 100_000), at: 0)
      mount.server.signal(SIGTERM)
      usleep(500_000)
      #expect(mount.server.isRunning)
      mount.server.signal(SIGTERM)
      let result = mount.server.wait(timeout: 20)
      #expect(!result.timedOut && result.status < 128, "\(result.summary)")
      #expect(!VhdfsMount.isMountPoint(mount.path))
    }

    /// When `vhdfs unmount` has returned, the server has ended and the files are closed.
    @Test func unmountWaitsForTheEnd() throws {
      let workspace = try Workspace()
      let name = try workspace.make(ImageKind.main[0], size: "256M")
      for command in [[Vhdfs.program, "unmount"], [try helper("umount.fuse.vhdfs", workspace)]] {
        try Vhdfs.runChecked(["mount", workspace.images, workspace.mountPoint])
        #expect(VhdfsMount.isMountPoint(workspace.mountPoint))
        let file = try OpenFile("\(workspace.mountPoint)/\(name)/disk", O_RDWR)
        try file.write(pattern(seed: 3, count: 100 << 20), at: 0)
        _ = consume file
        try runChecked(command + [workspace.mountPoint])
        #expect(!VhdfsMount.isMountPoint(workspace.mountPoint))
        #expect(try servers(of: workspace.mountPoint).isEmpty)
        try Oracles.expectCleanLog(workspace.image(name))
      }
    }

    /// Mounting over a mount whose server died clears it away.
    @Test func mountingOverOurOwnDeadMount() throws {
      let workspace = try Workspace()
      let name = try workspace.make(ImageKind.main[0], size: "8M")
      let first = try workspace.mount()
      first.server.signal(SIGKILL)
      first.server.wait(timeout: 10)
      #expect(VhdfsMount.isMountPoint(workspace.mountPoint))
      try Vhdfs.runChecked(["mount", workspace.images, workspace.mountPoint])
      #expect(fileExists("\(workspace.mountPoint)/\(name)/disk"))
      try Vhdfs.runChecked(["unmount", workspace.mountPoint])
    }

    private func helper(_ name: String, _ workspace: Workspace) throws -> String {
      let path = workspace.root.file(name)
      guard symlink(Vhdfs.program, path) == 0 else { throw TestFailure("symlink \(path)") }
      return path
    }

    /// The processes that serve a mount point.
    private func servers(of mountPoint: String) throws -> [String] {
      try names(in: "/proc").filter { name in
        guard name.allSatisfy(\.isNumber), let line = try? textOfFile("/proc/\(name)/cmdline") else {
          return false
        }
        return line.contains("vhdfs") && line.contains(mountPoint) && !line.contains("unmount")
      }
    }
  }
}
