import Glibc
import TestSupport
import Testing

extension MountTests {
  /// One writer: QEMU's programs notice us, and we notice them.
  @Suite(.requiresPrograms("qemu-io", "qemu-storage-daemon"))
  struct LockTests {
    /// What qemu-io says where a lock stands in its way.
    private static let refusal = "lock"

    private func image(_ workspace: Workspace) throws -> String {
      try workspace.make(ImageKind(format: "vhdx", kind: .dynamic, blockSize: "1M"), size: "8M")
    }

    private func qemuIO(_ options: [String], _ path: String) throws -> ProgramResult {
      try run(["qemu-io", "-f", "vhdx"] + options + ["-c", "read 0 512", path])
    }

    @Test func whatWeWriteNobodyElseOpens() throws {
      let workspace = try Workspace()
      let name = try image(workspace)
      let mount = try workspace.mount()
      let file = try OpenFile(mount.file(name), O_RDWR)
      try file.write([1], at: 0)
      for options in [[], ["-r"]] {
        let result = try qemuIO(options, workspace.image(name))
        #expect(!result.succeeded && result.errors.contains(Self.refusal), "\(options): \(result.summary)")
      }
      // -U accepts writers; that the log is dirty is another matter.
      let sharing = try qemuIO(["-r", "-U"], workspace.image(name))
      #expect(!sharing.errors.contains(Self.refusal), "\(sharing.summary)")
      _ = consume file
      try mount.unmount()
      #expect(try qemuIO([], workspace.image(name)).succeeded)
    }

    @Test func whatWeReadOthersReadToo() throws {
      let workspace = try Workspace()
      let name = try image(workspace)
      let mount = try workspace.mount()
      let file = try OpenFile(mount.file(name))
      _ = try file.read(at: 0, count: 512)
      #expect(try qemuIO(["-r"], workspace.image(name)).succeeded)
      let writer = try qemuIO([], workspace.image(name))
      #expect(!writer.succeeded && writer.errors.contains(Self.refusal), "\(writer.summary)")
      _ = consume file
      try mount.unmount()
    }

    @Test func whatQEMUWritesWeDoNotOpen() throws {
      let workspace = try Workspace()
      let name = try image(workspace)
      let mount = try workspace.mount()
      let writer = try RunningProgram([
        "stdbuf", "-oL", "qemu-io", "-f", "vhdx", "-c", "write 0 512", "-c", "sleep 60000",
        workspace.image(name),
      ])
      #expect(eventually(within: 10) { writer.output.contains("wrote") })
      expectBusy(mount.file(name), O_RDONLY)
      expectBusy(mount.file(name), O_RDWR)
      #expect(try mount.text(name, "control/error").contains(name))
      writer.signal(SIGKILL)
      writer.wait(timeout: 5)
      let file = try OpenFile(mount.file(name), O_RDWR)
      try file.write([2], at: 0)
      _ = consume file
      try mount.unmount()
    }

    @Test func whatQEMUReadsWeReadOnly() throws {
      let workspace = try Workspace()
      let name = try image(workspace)
      let mount = try workspace.mount()
      let reader = try RunningProgram([
        "stdbuf", "-oL", "qemu-io", "-r", "-f", "vhdx", "-c", "read 0 512", "-c", "sleep 60000",
        workspace.image(name),
      ])
      #expect(eventually(within: 10) { reader.output.contains("read 512") })
      do {
        let file = try OpenFile(mount.file(name))
        #expect(try file.read(at: 0, count: 512).count == 512)
      }
      expectBusy(mount.file(name), O_RDWR)
      reader.signal(SIGKILL)
      reader.wait(timeout: 5)
      try mount.unmount()
    }

    @Test func whoSharesWritesDoesNotStandInOurWay() throws {
      let workspace = try Workspace()
      let name = try image(workspace)
      let mount = try workspace.mount()
      let reader = try RunningProgram([
        "stdbuf", "-oL", "qemu-io", "-r", "-U", "-f", "vhdx", "-c", "read 0 512", "-c", "sleep 60000",
        workspace.image(name),
      ])
      #expect(eventually(within: 10) { reader.output.contains("read 512") })
      let file = try OpenFile(mount.file(name), O_RDWR)
      try file.write([3], at: 0)
      _ = consume file
      reader.signal(SIGKILL)
      reader.wait(timeout: 5)
      try mount.unmount()
    }

    @Test func storageDaemonInBothDirections() throws {
      let workspace = try Workspace()
      let name = try image(workspace)
      let export = workspace.root.file("export")
      try writeFile(export, [])
      let words = [
        "qemu-storage-daemon", "--blockdev", "driver=file,node-name=file,filename=\(workspace.image(name))",
        "--blockdev", "driver=vhdx,node-name=disk,file=file",
        "--export", "type=fuse,id=export,node-name=disk,mountpoint=\(export),writable=on",
      ]
      let mount = try workspace.mount()
      do {
        let file = try OpenFile(mount.file(name), O_RDWR)
        try file.write([4], at: 0)
        let refused = try run(words, timeout: 10)
        #expect(
          !refused.timedOut && refused.status != 0 && refused.errors.contains(Self.refusal),
          "\(refused.summary)")
      }
      #expect(eventually(within: 10) { (try? Oracles.logIsEmpty(workspace.image(name))) == true })
      let daemon = try RunningProgram(words)
      #expect(eventually(within: 10) { VhdfsMount.isMountPoint(export) }, "\(daemon.errors)")
      expectBusy(mount.file(name), O_RDWR)
      daemon.signal(SIGTERM)
      daemon.wait(timeout: 10)
      if VhdfsMount.isMountPoint(export) { _ = try? run(["umount", "-l", export]) }
      try mount.unmount()
    }

    /// A parent is held too, by whoever reads its child.
    @Test func theWholeChainIsHeld() throws {
      let workspace = try Workspace()
      let name = try workspace.make(ImageKind.main[1], size: "8M")
      let mount = try workspace.mount()
      let file = try OpenFile(mount.file(name))
      _ = try file.read(at: 0, count: 512)
      let writer = try qemuIO([], workspace.image("image-parent.vhdx"))
      #expect(!writer.succeeded && writer.errors.contains(Self.refusal), "\(writer.summary)")
      _ = consume file
      try mount.unmount()
    }

    /// Two mounts of ours: the second does not write what the first writes.
    @Test func ourOwnSecondMount() throws {
      let workspace = try Workspace()
      let name = try image(workspace)
      let first = try workspace.mount()
      let second = try VhdfsMount([workspace.images], at: workspace.root.directory("second"))
      let file = try OpenFile(first.file(name), O_RDWR)
      try file.write([5], at: 0)
      expectBusy(second.file(name), O_RDONLY)
      expectBusy(second.file(name), O_RDWR)
      _ = consume file
      try second.unmount()
      try first.unmount()
    }

    /// Opening fails with EBUSY, or the first read or write does.
    private func expectBusy(_ path: String, _ flags: Int32) {
      let file = open(path, flags | O_CLOEXEC)
      if file < 0 {
        #expect(errno == EBUSY, "\(String(cString: strerror(errno)))")
        return
      }
      defer { close(file) }
      var byte: UInt8 = 0
      let count = flags == O_RDONLY ? pread(file, &byte, 1, 0) : pwrite(file, &byte, 1, 0)
      #expect(count == -1 && errno == EBUSY)
    }
  }
}
