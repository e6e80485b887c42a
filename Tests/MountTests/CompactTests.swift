import Glibc
import LinuxSystem
import TestSupport
import Testing

extension MountTests {
  /// Compaction through the mount and by the command: what is refused, a full host, and the end that a user asks for.
  @Suite(.requiresPrograms("qemu-img")) struct CompactTests {
    /// Writes a line to the operation file; returns the errno, 0 where it was taken.
    private func order(_ line: String, _ mount: VhdfsMount, _ image: String, _ name: String = "compact")
      -> Int32
    {
      let file = open(mount.file(image, "control/\(name)"), O_WRONLY | O_TRUNC | O_CLOEXEC)
      if file < 0 { return errno }
      defer { close(file) }
      return write(file, line + "\n", line.utf8.count + 1) < 0 ? errno : 0
    }

    private func job(_ key: String, _ mount: VhdfsMount, _ image: String) throws -> String? {
      try mount.text(image, "control/job").split(separator: "\n").first { $0.hasPrefix("\(key) ") }
        .map { String($0.dropFirst(key.count + 1)) }
    }

    /// The bytes and the time of the last change.
    private func state(_ path: String) throws -> String {
      try runChecked(["sha256sum", path]) + runChecked(["stat", "-c", "%y %s", path])
    }

    @Test("What cannot be compacted is refused by its errno, with a sentence, and is untouched")
    func refusals() throws {
      let space = try Workspace()
      try space.create("a.vhdx", "--size", "16M")
      try space.create("fixed.vhd", "--size", "4M", "--type", "fixed")
      try space.create("parent.vhdx", "--size", "16M")
      try space.create("child.vhdx", "--parent", space.image("parent.vhdx"))
      try space.create("saved.vhd", "--size", "16M")
      try runChecked([
        "python3", "-c",
        """
        import struct, sys
        f = open(sys.argv[1], 'r+b'); f.seek(-512, 2); footer = bytearray(f.read(512))
        footer[84] = 1; footer[64:68] = bytes(4)
        footer[64:68] = struct.pack('>I', ~sum(footer) & 0xFFFFFFFF)
        f.seek(-512, 2); f.write(footer); f.seek(0); f.write(footer)
        """, space.image("saved.vhd"),
      ])
      let mount = try space.mount()
      let cases: [(image: String, line: String, code: Int32, value: String, sentence: String)] = [
        ("a.vhdx", "fast", EINVAL, "32773", "\"fast\" is no mode; there are full (0)"),
        ("a.vhdx", "5", EINVAL, "32773", "is no mode"),
        ("a.vhdx", "full now", EINVAL, "32773", "now"),
        ("fixed.vhd", "full", EOPNOTSUPP, "32770", "fixed VHD"),
        ("saved.vhd", "", EPERM, "32775", "saved state"),
        ("parent.vhdx", "full", EPERM, "32775", "child.vhdx"),
        ("parent.vhdx", "retrim", EPERM, "32775", "child.vhdx"),
      ]
      for item in cases {
        let before = try state(space.image(item.image))
        #expect(order(item.line, mount, item.image) == item.code, "\(item)")
        let sentence = try mount.text(item.image, "control/error")
        #expect(sentence.contains(item.sentence), "\(item): \(sentence)")
        #expect(try state(space.image(item.image)) == before, "\(item)")
      }
      #expect(open(mount.file("none.vhdx", "control/compact"), O_WRONLY) == -1 && errno == ENOENT)
      for line in ["4", "pretrimmed"] { #expect(order(line, mount, "parent.vhdx") == 0) }

      // Online: by its own raw file, and by a child's.
      var disk: OpenFile? = try OpenFile(mount.file("child.vhdx"))
      for image in ["child.vhdx", "parent.vhdx"] {
        let before = try state(space.image(image))
        #expect(order("prezeroed", mount, image) == EBUSY)
        #expect(try mount.text(image, "control/error").contains("child.vhdx is open"))
        #expect(try state(space.image(image)) == before)
      }
      let command = try Vhdfs.run(["compact", space.image("child.vhdx")])
      #expect(command.status != 0 && command.errors.contains(mount.path), "\(command.summary)")
      _ = disk?.descriptor
      disk = nil
      #expect(order("prezeroed", mount, "child.vhdx") == 0)
      try mount.unmount()
    }

    @Test("A dry run, and a run with nothing to do, change no byte and no time")
    func nothingChanges() throws {
      for kind in [ImageKind.typical[0], ImageKind(format: "vhd", kind: .dynamic, blockSize: "2M")] {
        let space = try Workspace()
        let name = try space.make(kind, size: "64M")
        let mount = try space.mount("--track")
        do {
          let disk = try OpenFile(mount.file(name), O_RDWR)
          for block in 0..<8 { try disk.write(pattern(seed: 3, count: 1 << 20), at: UInt64(block << 21)) }
          try disk.write([UInt8](repeating: 0, count: 1 << 20), at: 0)
          try disk.sync()
        }
        #expect(eventually(within: 5) { (try? mount.fact("state", of: name)) == "offline" })
        let path = space.image(name)
        for line in ["full dry-run", "quick dry-run", "retrim dry-run", "3 dry-run", "4 dry-run"] {
          let before = try state(path) + state(path + ".tracking")
          #expect(order(line, mount, name) == 0)
          #expect(try state(path) + state(path + ".tracking") == before, "\(line)")
        }
        let expected = try job("file_size_after", mount, name)
        #expect(order("prezeroed", mount, name) == 0)
        #expect(try job("file_size_after", mount, name) == expected)
        #expect(try expected == String(sizes(of: path).size))
        let before = try state(path)
        #expect(order("prezeroed", mount, name) == 0)
        #expect(try state(path) == before)
        try mount.unmount()
      }
    }

    @Test("On a full host moving says so; what was there is there, and it goes on when there is room")
    func fullHost() throws {
      for kind in [ImageKind.typical[0], ImageKind(format: "vhd", kind: .dynamic, blockSize: "2M")] {
        let space = try Workspace()
        let room = try SmallHost(.tmpfs, space)
        let name = try space.make(kind, size: "64M")
        let mount = try space.mount()
        do {
          let disk = try OpenFile(mount.file(name), O_RDWR)
          for block in 0..<12 {
            try disk.write(pattern(seed: UInt64(block), count: 2 << 20), at: UInt64(block << 21))
          }
          try disk.sync()
          #expect(linux_punch_hole(disk.descriptor, 0, 8 << 20) == 0)
        }
        try mount.unmount()
        let path = space.image(name)
        // All room that is left.
        _ = try? run(["sh", "-c", "cat /dev/zero >'\(space.image("ballast"))' 2>/dev/null"])
        let raw = space.root.file("before.raw")
        try runChecked(["qemu-img", "convert", "-f", kind.qemuFormat, "-O", "raw", path, raw])
        let result = try Vhdfs.run(["compact", "--mode", "pretrimmed", path])
        #expect(
          result.errors.contains("no room left") && result.errors.contains("compact again"),
          "\(result.summary)")
        try check(path, kind, reads: raw)
        unlink(space.image("ballast"))
        try Vhdfs.runChecked(["compact", "--mode", "pretrimmed", path])
        try check(path, kind, reads: raw)
        #expect(try sizes(of: path).size < 24 << 20)
        try room.unmount()
      }
    }

    private func check(_ path: String, _ kind: ImageKind, reads raw: String) throws {
      if kind.isVHDX { try runChecked(["qemu-img", "check", "-q", path]) }
      try runChecked(["qemu-img", "compare", "-q", "-f", kind.qemuFormat, "-F", "raw", path, raw])
    }

    /// 64 GiB with 1024 blocks of 1 MiB here and there, which have to be read as a whole; the first of them are given up, so
    /// that others move.
    private func large(_ space: Workspace) throws -> String {
      try space.create("large.vhdx", "--size", "64G", "--block-size", "1M")
      let mount = try space.mount()
      do {
        let disk = try OpenFile(mount.file("large.vhdx"), O_RDWR)
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        for block in 0..<1024 {
          let place = UInt64(block) * 63 << 20
          // In pieces, so that zeros take room too.
          try disk.write([1], at: place + 1_048_575)
          bytes[1_048_575] = UInt8(truncatingIfNeeded: block) | 1
          try disk.write(bytes, at: place)
        }
        try disk.sync()
        for block in 0..<400 {
          try #require(linux_punch_hole(disk.descriptor, off_t(block) * 63 << 20, 1 << 20) == 0)
        }
      }
      try mount.unmount()
      return space.image("large.vhdx")
    }

    /// Which ranges of the disk hold data, wherever they lie in the file.
    private func dataRanges(_ path: String) throws -> [String] {
      try Vhdfs.runChecked(["map", path]).split(separator: "\n").map {
        $0.split(separator: " ").prefix(3).joined(separator: " ")
      }
    }

    @Test("A cancel in each phase takes effect within a second, and the image is valid")
    func cancel() throws {
      let space = try Workspace()
      let path = try large(space)
      let copy = space.root.file("before.vhdx")
      try runChecked(["cp", "--sparse=always", path, copy])
      let ranges = try dataRanges(path)
      let mount = try space.mount()
      // At the beginning, while blocks are looked through, and while they move.
      var cancelled = 0
      for percent in [0, 10, 70] {
        #expect(order("async prezeroed", mount, "large.vhdx") == 0)
        var seen = 0
        var isOver = false
        while seen <= percent, !isOver {
          seen = Int(try job("percent_complete", mount, "large.vhdx") ?? "") ?? 0
          isOver = try job("job_state", mount, "large.vhdx")?.hasPrefix("7") == true
        }
        if isOver { break }
        let began = now()
        _ = order("", mount, "large.vhdx", "cancel")
        #expect(
          try eventually(within: 5) { try job("job_state", mount, "large.vhdx")?.hasPrefix("4") == false })
        #expect(now() - began < 1)
        if try job("job_state", mount, "large.vhdx") == "8 cancelled" { cancelled += 1 }
        try runChecked(["qemu-img", "check", "-q", path])
        #expect(try dataRanges(path) == ranges)
      }
      #expect(cancelled > 0)
      try mount.unmount()
      // Ctrl-C of the command.
      let command = try RunningProgram([Vhdfs.program, "compact", "--mode", "prezeroed", path])
      usleep(200_000)
      if command.isRunning {
        let began = now()
        command.signal(SIGINT)
        let result = command.wait(timeout: 10)
        #expect(now() - began < 1)
        #expect(result.status == 128 + SIGINT, "\(result.summary)")
      }
      try runChecked(["qemu-img", "check", "-q", path])
      try Vhdfs.runChecked(["compact", "--mode", "prezeroed", path])
      try runChecked(["qemu-img", "check", "-q", path])
      #expect(try dataRanges(path) == ranges)
      try runChecked(["qemu-img", "compare", "-q", path, copy], timeout: 120)
      #expect(try sizes(of: path).size < 640 << 20)
    }

    @Test("Percent never falls, moves in steps, and ends at 100") func percent() throws {
      let space = try Workspace()
      _ = try large(space)
      let mount = try space.mount()
      #expect(order("async prezeroed", mount, "large.vhdx") == 0)
      var values: [Int] = []
      while values.last != 100 {
        let value = try #require(Int(try job("percent_complete", mount, "large.vhdx") ?? ""))
        try #require(value >= values.last ?? 0)
        if value != values.last { values.append(value) }
        usleep(2000)
        if try job("job_state", mount, "large.vhdx")?.hasPrefix("4") == false, value != 100 { break }
      }
      #expect(eventually(within: 10) { (try? job("percent_complete", mount, "large.vhdx")) == "100" })
      #expect(values.count > 10, "\(values)")
      try mount.unmount()
    }
  }
}
