import Dispatch
import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Many writers at once.
  struct ConcurrencyTests {
    /// Each of eight writers owns 64 bytes of every sector: no write may undo a neighbour's.
    @Test(arguments: ImageKind.typical)
    func writesThatShareASector(kind: ImageKind) throws {
      let workspace = try Workspace()
      let size = 8 << 20
      var model = DiskModel(size: size)
      var name = try workspace.make(kind, size: "8M")
      if kind.isChild {
        // The rest of a sector is the parent's until it is written.
        unlink(workspace.image(name))
        let parent = "image-parent.\(kind.format)"
        let first = try workspace.mount()
        let bytes = pattern(seed: 1, count: size)
        try OpenFile(first.file(parent), O_RDWR).write(bytes, at: 0)
        model.write(bytes, at: 0)
        try first.unmount()
        name = "child.\(kind.format)"
        try Vhdfs.create(workspace.image(name), kind.options(size: "8M", parent: workspace.image(parent)))
      }
      let mount = try workspace.mount()
      let path = mount.file(name)
      let sectors = 300
      // Prime to the number of sectors, so that writers meet in different places.
      let spread = (0..<sectors).map { $0 * 37 % sectors * 27_136 }
      var failed = false
      try withUnsafeMutablePointer(to: &failed) { failed in
        nonisolated(unsafe) let failed = failed
        DispatchQueue.concurrentPerform(iterations: 8) { writer in
          do {
            let file = try OpenFile(path, O_RDWR)
            for (index, offset) in spread.enumerated() {
              try file.write(slot(writer, index), at: UInt64(offset + writer * 64))
              if index % 64 == writer { try file.sync() }
            }
          } catch { failed.pointee = true }
        }
        if failed.pointee { throw TestFailure("a write failed") }
      }
      for writer in 0..<8 {
        for (index, offset) in spread.enumerated() {
          model.write(slot(writer, index), at: offset + writer * 64)
        }
      }
      #expect(try model.firstDifference(inFile: path) == nil)
      try mount.unmount()
      try Oracles.compare(workspace.image(name), kind, with: model)
    }

    private func slot(_ writer: Int, _ index: Int) -> [UInt8] {
      pattern(seed: UInt64(writer * 1000 + index + 1), count: 64)
    }

    /// Several jobs, each in its own part of the disk, check what they wrote.
    @Test(.requiresPrograms("fio"), arguments: ImageKind.main)
    func manyJobsAtOnce(kind: ImageKind) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "128M")
      let mount = try workspace.mount()
      var words = [
        "fio", "--filename=\(mount.file(name))", "--ioengine=libaio", "--iodepth=8", "--direct=1",
        "--size=32M",
        "--allow_file_create=0", "--minimal", "--thread", "--verify=crc32c", "--verify_fatal=1",
      ]
      for (index, workload) in ["randwrite", "randwrite", "write", "randwrite"].enumerated() {
        words += [
          "--name=job\(index)", "--offset=\(index * 32)M", "--rw=\(workload)",
          "--bs=\(index == 1 ? "64k" : "4k")",
          "--io_size=16M",
        ]
      }
      let result = try run(words, timeout: 120, directory: workspace.root.path)
      #expect(result.succeeded, "\(result.summary)")
      try mount.unmount()
      try Oracles.expectCleanLog(workspace.image(name))
    }
  }
}
