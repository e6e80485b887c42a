import Glibc
import TestSupport
import Testing

extension MountTests {
  /// examples/nbd-export.sh: clients of NBD read the disk, are told its holes, and write to it.
  @Suite(.requiresPrograms("bash", "nbdkit", "nbdinfo", "nbdcopy", "qemu-img", "qemu-io"))
  struct NetworkExportTests {
    @Test func clientsSeeTheDiskAndItsHoles() throws {
      let workspace = try Workspace()
      try workspace.create("disk.vhdx", "--size", "64M", "--block-size", "1M")
      let mount = try workspace.mount("--track")
      do {
        let file = try OpenFile(mount.file("disk.vhdx"), O_RDWR)
        try file.write(pattern(seed: 1, count: 3 << 20), at: 4 << 20)
        try file.write(pattern(seed: 2, count: 1 << 20), at: 40 << 20)
        try file.sync()
      }
      let socket = workspace.root.file("socket")
      let place = "nbd+unix:///?socket=\(socket)"
      let server = try start(mount.file("disk.vhdx"), socket)

      let map = try runChecked(["nbdinfo", "--map", place])
      let words = map.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
      #expect(
        words.map { $0.prefix(2).joined(separator: " ") + " " + ($0.last ?? "") } == [
          "0 4194304 hole,zero", "4194304 3145728 data", "7340032 34603008 hole,zero",
          "41943040 1048576 data",
          "42991616 24117248 hole,zero",
        ], "\(map)")
      let copy = workspace.root.file("copy")
      try runChecked(["nbdcopy", place, copy])
      try runChecked(["cmp", copy, mount.file("disk.vhdx")])
      #expect(try sizes(of: copy).allocated <= 5 << 20)
      try runChecked(["qemu-img", "compare", "-f", "raw", "-F", "raw", place, mount.file("disk.vhdx")])
      let refused = try run(["qemu-io", "-f", "raw", "-c", "write 0 4k", place])
      #expect(!refused.succeeded, "written although it is read-only: \(refused.summary)")
      try end(server, socket)
      try mount.unmount()
    }

    /// What clients write and trim is there, and tracked.
    @Test func clientsWrite() throws {
      let workspace = try Workspace()
      try workspace.create("disk.vhdx", "--size", "64M", "--block-size", "1M")
      let mount = try workspace.mount("--track")
      do { try OpenFile(mount.file("disk.vhdx"), O_RDWR).write(pattern(seed: 1, count: 2 << 20), at: 0) }
      guard mkdir(mount.file("disk.vhdx", "points/before"), 0o755) == 0 else { throw TestFailure("no point") }
      let socket = workspace.root.file("socket")
      let server = try start(mount.file("disk.vhdx"), socket, ["--writable"])
      try runChecked([
        "qemu-io", "-f", "raw", "-d", "unmap", "-c", "write -P 9 8M 64k", "-c", "discard 1M 1M", "-c",
        "flush",
        "nbd+unix:///?socket=\(socket)",
      ])
      try end(server, socket)
      do {
        let file = try OpenFile(mount.file("disk.vhdx"))
        #expect(same(try file.read(at: 8 << 20, count: 65536), [UInt8](repeating: 9, count: 65536)))
        #expect(same(try file.read(at: 1 << 20, count: 1 << 20), [UInt8](repeating: 0, count: 1 << 20)))
      }
      let changes = try mount.text("disk.vhdx", "control/changes?limit=before").split(separator: "\n")
      #expect(
        changes.dropFirst() == ["1048576 1048576", "8388608 65536", "# processed 67108864"], "\(changes)")
      try mount.unmount()
    }

    private func start(_ disk: String, _ socket: String, _ options: [String] = []) throws -> RunningProgram {
      let server = try RunningProgram(
        ["bash", "\(DiskInUse.scripts)/nbd-export.sh"] + options + [disk, socket])
      let place = "nbd+unix:///?socket=\(socket)"
      let answers = try eventually(within: 10) { try run(["nbdinfo", "--size", place]).succeeded }
      guard answers else { throw TestFailure("no export: \(server.errors)") }
      return server
    }

    private func end(_ server: RunningProgram, _ socket: String) throws {
      server.signal(SIGTERM)
      let result = server.wait(timeout: 10)
      #expect(!result.timedOut, "\(result.summary)")
      #expect(!fileExists(socket))
    }
  }
}
