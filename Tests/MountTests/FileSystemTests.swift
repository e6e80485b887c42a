import Glibc
import TestSupport
import Testing

extension MountTests {
  /// File systems inside a child, on the whole disk and in a partition: made, filled, checked by their own tools; the
  /// parent stays as it was.
  @Suite(
    .requiresLoopDevice,
    .requiresPrograms("mkfs.ext4", "mkfs.xfs", "mkfs.ntfs", "xfs_repair", "ntfsfix", "sfdisk"))
  struct FileSystemTests {
    struct FileSystem: Sendable, CustomTestStringConvertible {
      var name: String
      var make: [String]
      /// Options for mount(8).
      var mount: [String] = []
      var check: [String]
      var testDescription: String { name }

      static let all = [
        FileSystem(name: "ext4", make: ["mkfs.ext4", "-q", "-F"], check: ["fsck.ext4", "-f", "-n"]),
        FileSystem(name: "xfs", make: ["mkfs.xfs", "-q", "-f"], check: ["xfs_repair", "-n"]),
        FileSystem(
          name: "ntfs", make: ["mkfs.ntfs", "-q", "-F", "-f"], mount: ["-t", "ntfs-3g"],
          check: ["ntfsfix", "-n"]),
      ]
    }

    @Test(arguments: FileSystem.all, ["disk", "partitions/1"])
    func filledAndChecked(fileSystem: FileSystem, place: String) throws {
      try fillAndCheck(fileSystem, place, ImageKind(format: "vhdx", kind: .differencing, blockSize: "2M"))
    }

    @Test(arguments: ["disk", "partitions/1"])
    func filledAndCheckedInAVHDChild(place: String) throws {
      try fillAndCheck(
        FileSystem.all[0], place, ImageKind(format: "vhd", kind: .differencing, blockSize: "2M"))
    }

    private func fillAndCheck(_ fileSystem: FileSystem, _ place: String, _ kind: ImageKind) throws {
      let workspace = try Workspace()
      // The smallest that mkfs.xfs makes is 300 MB.
      let name = try workspace.make(kind, size: "400M")
      let parent = workspace.image("image-parent.\(kind.format)")
      let parentSum = try sha256(ofFile: parent)
      let tree = try makeTree(workspace)

      let mount = try workspace.mount()
      if place != "disk" {
        try runChecked(["sfdisk", "-q", mount.file(name)], input: Array("label: gpt\nstart=1MiB\n".utf8))
        let found = eventually(within: 3) { fileExists(mount.file(name, place)) }
        #expect(found, "the partition did not appear within 3 s")
      }
      try withLoopDevice(mount.file(name, place)) { device in
        try runChecked(fileSystem.make + [device], timeout: 120)
        let inside = try MountedFileSystem(device, at: workspace.root.directory("inside"), fileSystem.mount)
        try runChecked(["cp", "-r", tree, inside.path], timeout: 120)
        try inside.unmount()
        let check = try run(fileSystem.check + [device], timeout: 120)
        #expect(check.succeeded, "\(check.summary)")
      }
      try mount.unmount()
      #expect(try sha256(ofFile: parent) == parentSum)
      if kind.isVHDX { try Oracles.expectCleanLog(workspace.image(name)) }

      // Again, read-only: the tree is there.
      let again = try workspace.mount("-r")
      try withLoopDevice(again.file(name, place), ["-r"]) { device in
        let check = try run(fileSystem.check + [device], timeout: 120)
        #expect(check.succeeded, "\(check.summary)")
        let readOnly = fileSystem.name == "xfs" ? ["-o", "ro,norecovery"] : ["-o", "ro"]
        let inside = try MountedFileSystem(
          device, at: workspace.root.directory("inside"), fileSystem.mount + readOnly)
        try runChecked(["diff", "-r", "--no-dereference", tree, "\(inside.path)/tree"])
        try inside.unmount()
      }
      try again.unmount()
    }

    private func withLoopDevice(_ file: String, _ options: [String] = [], _ body: (String) throws -> Void)
      throws
    {
      let device = try LoopDevice(file, ["--direct-io=on"] + options)
      try body(device.path)
      try device.detach()
    }

    /// Some hundred files of seeded contents, 1 byte to 2 MiB.
    private func makeTree(_ workspace: Workspace) throws -> String {
      let tree = try workspace.root.directory("tree")
      var generator = SeededGenerator(seed: 7)
      for folder in 0..<10 {
        let path = "\(tree)/folder \(folder)"
        guard mkdir(path, 0o755) == 0 else { throw TestFailure("mkdir \(path)") }
        for file in 0..<25 {
          let count = Int.random(in: 1...1 << Int.random(in: 1...18, using: &generator), using: &generator)
          try writeFile("\(path)/file-\(file)", pattern(seed: generator.next(), count: count))
        }
      }
      try writeFile("\(tree)/large", pattern(seed: 8, count: 2 << 20))
      return tree
    }
  }

  /// fio writes in random order, and reads back what it wrote, by its checksums.
  @Suite(.requiresLoopDevice, .requiresPrograms("fio"))
  struct VerificationTests {
    @Test(arguments: ImageKind.main, [false, true])
    func randomWritesReadBack(kind: ImageKind, throughLoop: Bool) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "96M")
      let mount = try workspace.mount()
      let device = throughLoop ? try LoopDevice(mount.file(name), ["--direct-io=on"]) : nil
      for direct in [0, 1] {
        let result = try run(
          [
            "fio", "--name=verify", "--filename=\(device?.path ?? mount.file(name))", "--rw=randwrite",
            "--bsrange=4k-128k", "--bs_unaligned=0", "--size=64M", "--offset=\(direct * 32)M",
            "--ioengine=\(direct == 1 ? "libaio" : "psync")", "--iodepth=\(direct == 1 ? 16 : 1)",
            "--direct=\(direct)",
            "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--randseed=\(11 + direct)", "--fsync=64",
            "--allow_file_create=0", "--minimal",
          ], timeout: 120, directory: workspace.root.path)
        #expect(result.succeeded, "direct=\(direct): \(result.summary)")
      }
      try device?.detach()
      try mount.unmount()
      if kind.isKnownToQEMU {
        let check = try run(["qemu-img", "check", "-f", kind.qemuFormat, workspace.image(name)])
        #expect(check.succeeded, "\(check.summary)")
      }
      try Oracles.expectCleanLog(workspace.image(name))
    }
  }
}
