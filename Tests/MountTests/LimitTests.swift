import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What a mount takes of the machine is bounded, and what lies beyond a bound is refused with a clear error.
  struct LimitTests {
    /// A chain takes one descriptor a file. Where the system gives no more, the open fails, and all else goes on.
    @Test(.requiresPrograms("prlimit")) func noDescriptorsLeft() throws {
      let workspace = try Workspace()
      try workspace.create("single.vhdx", "--size", "8M")
      try workspace.create("c0.vhdx", "--size", "8M")
      for number in 1..<40 {
        try workspace.create("c\(number).vhdx", "--parent", workspace.image("c\(number - 1).vhdx"))
      }
      let mount = try VhdfsMount(
        [workspace.images], at: workspace.mountPoint, keeping: workspace,
        under: ["prlimit", "--nofile=48:48"])
      for _ in 0..<3 {
        #expect(open(mount.file("c39.vhdx"), O_RDWR | O_CLOEXEC) == -1)
        #expect(errno == EMFILE, "\(String(cString: strerror(errno)))")
      }
      let sentence = try mount.text("c39.vhdx", "control/error")
      #expect(sentence.contains("Too many open files") && sentence.contains(".vhdx"), "\(sentence)")
      #expect(mount.server.isRunning)
      // What that attempt had opened is closed again.
      #expect(try OpenFile(mount.file("c9.vhdx")).read(at: 0, count: 512).count == 512)
      let file = try OpenFile(mount.file("single.vhdx"), O_RDWR)
      try file.write(pattern(seed: 1, count: 65536), at: 4096)
      try file.sync()
      _ = consume file
      try mount.unmount()
      try Oracles.expectCleanLog(workspace.image("single.vhdx"))
    }

    /// The server asks for as many descriptors as it may have.
    @Test(.requiresPrograms("prlimit")) func softLimitIsRaised() throws {
      let workspace = try Workspace()
      try workspace.create("a.vhdx", "--size", "8M")
      let mount = try VhdfsMount(
        [workspace.images], at: workspace.mountPoint, keeping: workspace,
        under: ["prlimit", "--nofile=64:512"])
      let line = try textOfFile("/proc/\(mount.server.pid)/limits").split(separator: "\n")
        .first { $0.hasPrefix("Max open files") }
      #expect(line?.split(separator: " ").dropFirst(3).first == "512", "\(line ?? "")")
      try mount.unmount()
    }

    /// A file takes one descriptor in however many chains it is, and gives it back with the last.
    @Test func descriptorsAreSharedAndGivenBack() throws {
      let workspace = try Workspace()
      try workspace.create("base.vhdx", "--size", "8M")
      let children = 20
      for number in 0..<children {
        try workspace.create("child\(number).vhdx", "--parent", workspace.image("base.vhdx"))
      }
      let mount = try workspace.mount()
      func descriptors() throws -> Int { try names(in: "/proc/\(mount.server.pid)/fd").count }
      // What the server's own timers take is there after the first use.
      _ = try OpenFile(mount.file("child0.vhdx"), O_RDWR)
      usleep(500_000)
      let before = try descriptors()
      for _ in 0..<3 {
        var files = try (0..<children).map { try OpenFile(mount.file("child\($0).vhdx"), O_RDWR) }
        files += try (0..<children).map { try OpenFile(mount.file("child\($0).vhdx")) }
        #expect(try descriptors() <= before + children + 1)
        files = []
        #expect(try eventually(within: 5) { try descriptors() == before })
      }
      try mount.unmount()
    }

    /// Tables of the largest disk are read by pages into a cache of a fixed size.
    @Test(arguments: ["dynamic", "differencing"]) func memoryOfTheLargestDisk(type: String) throws {
      let workspace = try Workspace()
      let size: UInt64 = 64 << 40
      try workspace.create("base.vhdx", "--size", "64T", "--block-size", "1M")
      if type == "differencing" {
        try workspace.create("image.vhdx", "--parent", workspace.image("base.vhdx"), "--block-size", "1M")
      }
      let name = type == "differencing" ? "image.vhdx" : "base.vhdx"
      let mount = try workspace.mount()
      let file = try OpenFile(mount.file(name), O_RDWR)
      var generator = SeededGenerator(seed: 4)
      for number in 0..<3000 {
        let place = UInt64.random(in: 0..<size / 4096, using: &generator) * 4096
        if number % 30 == 0 {
          try file.write(pattern(seed: UInt64(number), count: 4096), at: place)
        } else {
          #expect(try file.read(at: place, count: 4096).count == 4096)
        }
      }
      try file.sync()
      let memory = memoryHighWater(of: mount.server.pid) ?? .max
      #expect(memory < 96 << 20, "\(memory >> 20) MiB")
      _ = consume file
      try mount.unmount()
    }

    /// Each open control file holds its answer: there are so many and no more, and closing them helps.
    @Test(.requiresPrograms("prlimit", "python3")) func openAnswers() throws {
      let workspace = try Workspace()
      try workspace.create("a.vhdx", "--size", "8M")
      let mount = try workspace.mount()
      let script = """
        import os, sys
        files = []
        try:
          for number in range(5000): files.append(os.open(sys.argv[1], os.O_RDONLY))
        except OSError as error:
          print(len(files), error.errno)
        for file in files: os.close(file)
        """
      let result = try runChecked([
        "prlimit", "--nofile=8192:8192", "python3", "-c", script, mount.file("a.vhdx", "control/info"),
      ])
      #expect(result == "4096 \(ENFILE)\n", "\(result)")
      #expect(try mount.text("a.vhdx", "control/error").contains("4096"))
      #expect(eventually(within: 5) { (try? mount.fact("state", of: "a.vhdx")) == "offline" })
      try mount.unmount()
    }

    /// What is longer than a request is split: it arrives whole, in the memory of a few requests.
    @Test func requestsAreBounded() throws {
      let workspace = try Workspace()
      let size = 96 << 20
      try workspace.create("a.vhdx", "--size", String(size))
      let mount = try workspace.mount()
      let bytes = pattern(seed: 5, count: size)
      // Past the page cache of the kernel, as raw files are: as one call.
      let file = try OpenFile(mount.file("a.vhdx"), O_RDWR)
      #expect(bytes.withUnsafeBytes { pwrite(file.descriptor, $0.baseAddress, size, 0) } == size)
      #expect(same(try file.read(at: 0, count: size), bytes))
      let memory = memoryHighWater(of: mount.server.pid) ?? .max
      // 24 buffers of 1 MiB, as many answers, and the program.
      #expect(memory < UInt64(size), "\(memory >> 20) MiB")
      _ = consume file
      try mount.unmount()
    }

    /// A name is as long as statfs(2) says; the kernel itself would let longer ones through.
    @Test func queriesAreBounded() throws {
      let workspace = try Workspace()
      try workspace.create("a.vhdx", "--size", "8M")
      let mount = try workspace.mount()
      func query(_ length: Int) -> String {
        let words = "map?format=json&offset="
        return mount.file(
          "a.vhdx", "control/" + words + String(repeating: "0", count: length - words.utf8.count))
      }
      #expect(try textOfFile(query(255)).hasPrefix("{"))
      for length in [256, 300, 1000, 1024, 1025, 4000] {
        #expect(open(query(length), O_RDONLY | O_CLOEXEC) == -1)
        #expect(errno == ENAMETOOLONG, "\(length): \(String(cString: strerror(errno)))")
      }
      try mount.unmount()
    }

    /// However much a program asks for at once, an answer to it is 64 KiB; the next goes on where it ended.
    @Test(.requiresPrograms("python3")) func listingsAreBounded() throws {
      let workspace = try Workspace()
      let count = 1200
      for number in 0..<count {
        let name = "\(number)-" + String(repeating: "n", count: 200) + ".vhdx"
        try writeFile(workspace.image(name), Array("vhdxfile".utf8))
      }
      let mount = try workspace.mount()
      let script = """
        import ctypes, os, struct, sys
        libc = ctypes.CDLL(None, use_errno=True)
        libc.getdents64.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
        libc.getdents64.restype = ctypes.c_ssize_t
        directory = os.open(sys.argv[1], os.O_RDONLY)
        buffer = ctypes.create_string_buffer(1 << 20)
        names, largest, calls = [], 0, 0
        while True:
          got = libc.getdents64(directory, buffer, 1 << 20)
          if got <= 0: break
          largest, calls, place = max(largest, got), calls + 1, 0
          while place < got:
            length = struct.unpack_from("H", buffer, place + 16)[0]
            names.append(bytes(buffer[place + 19:place + length]).split(b"\\0")[0])
            place += length
        names = [name for name in names if not name.startswith(b".")]
        print(got, len(names), len(set(names)), largest <= 1 << 16, calls > 3)
        """
      let result = try runChecked(["python3", "-c", script, mount.path])
      #expect(result == "0 \(count) \(count) True True\n", "\(result)")
      try mount.unmount()
    }

    /// What is no regular file is neither shown nor opened, and nothing hangs on it.
    @Test func onlyRegularFilesAreShown() throws {
      let workspace = try Workspace()
      try workspace.create("a.vhdx", "--size", "8M")
      try runChecked(["mkfifo", workspace.image("fifo.vhdx")])
      try runChecked(["mknod", workspace.image("device.vhd"), "c", "1", "5"])
      try runChecked(["mkdir", workspace.image("directory.vhdx")])
      try runChecked(["ln", "-s", "/etc/shadow", workspace.image("link.vhdx")])
      try runChecked(["ln", "-s", "a.vhdx", workspace.image("near.vhdx")])
      let mount = try workspace.mount()
      #expect(try names(in: mount.path).filter { !$0.hasPrefix(".") } == ["a.vhdx"])
      try mount.unmount()
    }
  }
}
