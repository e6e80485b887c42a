import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What other programs for these formats are known to have done wrong, where no other test has it.
  struct KnownFailureTests {
    /// The first entry of a page of the block table changes: its neighbours must stay where they are.
    @Test(.requiresPrograms("qemu-img", "7z", "vhdimount"), arguments: [true, false])
    func firstEntryOfATablePage(neighboursFirst: Bool) throws {
      let workspace = try Workspace()
      let kind = ImageKind(format: "vhdx", kind: .dynamic, blockSize: "1M")
      let name = try workspace.make(kind, size: "1100M")
      let mount = try workspace.mount()
      let block = 1 << 20
      // 512 entries in a page: block 512 is the second page's first.
      let order = neighboursFirst ? [513, 514, 1023, 1024, 511, 0, 512] : [512, 513, 511, 1023, 1024, 0]
      do {
        let file = try OpenFile(mount.file(name), O_RDWR)
        for index in order {
          try file.write(pattern(seed: UInt64(index), count: block), at: UInt64(index * block))
          try file.sync()
        }
      }
      try mount.unmount()
      let check = try run(["qemu-img", "check", "-f", "vhdx", workspace.image(name)])
      #expect(check.succeeded, "\(check.summary)")
      let raw = workspace.root.file("raw")
      try runChecked(["qemu-img", "convert", "-f", "vhdx", "-O", "raw", workspace.image(name), raw])
      let disk = try OpenFile(raw)
      for index in order {
        #expect(
          try disk.read(at: UInt64(index * block), count: block) == pattern(seed: UInt64(index), count: block)
        )
      }
      for index in [1, 510, 515, 1022, 1025] {
        #expect(try disk.read(at: UInt64(index * block), count: block).allSatisfy { $0 == 0 })
      }
    }

    /// "All zero, so nothing to do" is wrong where a parent holds data.
    @Test(arguments: ImageKind.typical.filter(\.isChild))
    func zerosWrittenOverAParentsData(kind: ImageKind) throws {
      let workspace = try Workspace()
      var base = kind
      base.kind = .dynamic
      let parent = workspace.image("parent.\(kind.format)")
      try Vhdfs.create(parent, base.options(size: "8M"))
      let first = try workspace.mount()
      try OpenFile(first.file("parent.\(kind.format)"), O_RDWR).write(pattern(seed: 1, count: 8 << 20), at: 0)
      try first.unmount()
      let name = "child.\(kind.format)"
      try Vhdfs.create(workspace.image(name), kind.options(size: "8M", parent: parent))
      let mount = try workspace.mount()
      var model = DiskModel(bytes: pattern(seed: 1, count: 8 << 20))
      do {
        let file = try OpenFile(mount.file(name), O_RDWR)
        for (offset, length) in [(0, 512), (4096, 4096), (1 << 20, 3 << 20), (7_000_001, 99)] {
          try file.write([UInt8](repeating: 0, count: length), at: UInt64(offset))
          model.zero(at: offset, length: length)
        }
      }
      try mount.unmount()
      let again = try workspace.mount("-r")
      #expect(try model.firstDifference(inFile: again.file(name)) == nil)
      try again.unmount()
    }

    /// Both headers equal, as Disk2VHD leaves them: read, written, and in order afterwards.
    @Test(.requiresCorpus, arguments: ["made/crafted/c_hdrsame.vhdx.zst", "made/crafted/c_rt1bad.vhdx.zst"])
    func oddHeadersAreMendedByAWrite(stored: String) throws {
      let workspace = try Workspace()
      try Corpus.unpack([stored], into: workspace.root.path)
      let name = "image.vhdx"
      try runChecked(["mv", workspace.root.file(Corpus.unpackedName(stored)), workspace.image(name)])
      let mount = try workspace.mount()
      try OpenFile(mount.file(name), O_RDWR).write(pattern(seed: 2, count: 512), at: 0)
      try mount.unmount()
      try Oracles.expectCleanLog(workspace.image(name))
      let check = try run(["qemu-img", "check", "-f", "vhdx", workspace.image(name)])
      #expect(check.succeeded, "\(check.summary)")
    }

    /// The image lies on a file system that is a FUSE server itself: another mount of this program.
    @Test func imageWithinAMountOfOurOwn() throws {
      let workspace = try Workspace()
      let outer = try workspace.make(ImageKind.main[0], size: "64M", name: "outer")
      let inner = workspace.root.file("inner.vhdx")
      try Vhdfs.create(inner, ["--type", "fixed", "--size", "16M", "--block-size", "1M"])
      let first = try workspace.mount()
      try runChecked(["dd", "if=\(inner)", "of=\(first.file(outer))", "bs=1M", "conv=notrunc", "status=none"])
      let second = try VhdfsMount([first.file(outer)], at: workspace.root.directory("second"))
      var model = DiskModel(size: 16 << 20)
      do {
        let file = try OpenFile(second.file("disk"), O_RDWR)
        var workload = SeededWorkload(seed: 3)
        #expect(try workload.run(60, on: file, &model) == nil)
      }
      #expect(try model.firstDifference(inFile: second.file("disk")) == nil)
      try second.unmount()
      try first.unmount()
    }

    /// A header whose sequence number cannot grow is read; a write is refused or done, and nothing crashes.
    @Test func greatestHeaderSequenceNumber() throws {
      let workspace = try Workspace()
      let name = try workspace.make(ImageKind.main[0], size: "8M")
      let file = try OpenFile(workspace.image(name), O_RDWR)
      for (offset, number) in [(0x10000, UInt64.max), (0x20000, UInt64.max - 1)] {
        var header = try file.read(at: UInt64(offset), count: 4096)
        header.replaceSubrange(
          8..<16, with: (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) })
        header.replaceSubrange(4..<8, with: [0, 0, 0, 0])
        let sum = crc32c(header)
        header.replaceSubrange(
          4..<8, with: (0..<4).map { UInt8(truncatingIfNeeded: sum >> (8 * UInt32($0))) })
        try file.write(header, at: UInt64(offset))
      }
      let mount = try workspace.mount()
      #expect(try OpenFile(mount.file(name)).read(at: 0, count: 512).count == 512)
      let disk = try OpenFile(mount.file(name), O_RDWR)
      let byte: [UInt8] = [1]
      let written = pwrite(disk.descriptor, byte, 1, 0)
      #expect(written == 1 || written == -1)
      _ = consume disk
      #expect(mount.server.isRunning)
      try mount.unmount()
      // Still an image that opens.
      try Vhdfs.runChecked(["map", workspace.image(name)])
    }
  }
}
