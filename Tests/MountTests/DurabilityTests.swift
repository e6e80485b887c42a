import Glibc
import LinuxSystem
import TestSupport
import TestSystem
import Testing

extension MountTests {
  /// What was written durably is there after the server was killed, and no other byte is.
  struct DurabilityTests {
    enum Way: String, CaseIterable, Sendable {
      case synchronous, dataSynchronous, oneSynchronousWrite, fsync, fdatasync, directSynchronous
    }

    @Test(arguments: ImageKind.typical, Way.allCases)
    func survivesAKill(kind: ImageKind, way: Way) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "16M")
      var model = DiskModel(size: 16 << 20)
      let mount = try workspace.mount()
      var generator = SeededGenerator(seed: 5)
      do {
        let special =
          switch way {
          case .synchronous: TEST_OPEN_SYNC
          case .dataSynchronous: TEST_OPEN_DSYNC
          case .directSynchronous: TEST_OPEN_DSYNC + TEST_OPEN_DIRECT
          default: 0
          }
        let file = test_open_special(mount.file(name), Int32(special))
        #expect(file >= 0)
        defer { close(file) }
        for _ in 0..<12 {
          let offset = Int.random(in: 0..<15 << 8, using: &generator) * 4096
          let bytes = pattern(seed: generator.next(), count: 4096 * Int.random(in: 1...40, using: &generator))
          let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 4096)
          defer { memory.deallocate() }
          memory.copyBytes(from: bytes)
          let count =
            way == .oneSynchronousWrite
            ? test_pwrite_durably(file, memory.baseAddress, bytes.count, off_t(offset))
            : pwrite(file, memory.baseAddress, bytes.count, off_t(offset))
          #expect(count == bytes.count)
          if way == .fsync { #expect(Glibc.fsync(file) == 0) }
          if way == .fdatasync { #expect(Glibc.fdatasync(file) == 0) }
          model.write(bytes, at: offset)
        }
        // Killed with the file open, so that no clean close helps.
        try mount.kill()
      }
      let again = try workspace.mount()
      let difference = try model.firstDifference(inFile: again.file(name))
      #expect(difference == nil, "lost or strange bytes after the kill")
      // And it can be written again.
      let file = try OpenFile(again.file(name), O_RDWR)
      let bytes = pattern(seed: 6, count: 100_000)
      try file.write(bytes, at: 12345)
      model.write(bytes, at: 12345)
      _ = consume file
      try again.unmount()
      try Oracles.compare(workspace.image(name), kind, with: model)
    }

    /// Nobody asked for it, but what was written 5 seconds ago is in the tables of the file.
    @Test func tablesAreCommittedWithinFiveSeconds() throws {
      let workspace = try Workspace()
      let kinds = ImageKind.typical
      let names = try kinds.indices.map { try workspace.make(kinds[$0], size: "16M", name: "image\($0)") }
      let mount = try workspace.mount()
      let bytes = pattern(seed: 3, count: 8192)
      let files = try names.map { try OpenFile(mount.file($0), O_RDWR) }
      for file in files { try file.write(bytes, at: 5 << 20) }
      usleep(5_200_000)
      try mount.kill()
      _ = consume files
      let again = try workspace.mount()
      for (name, kind) in zip(names, kinds) {
        #expect(try OpenFile(again.file(name)).read(at: 5 << 20, count: bytes.count) == bytes, "\(kind)")
      }
    }

    /// Killed at any moment: every page holds what was last made durable, or something newer that was written there.
    @Test(arguments: ImageKind.typical, [1, 2] as [UInt64])
    func nothingStrangeAfterAKillAtAnyMoment(kind: ImageKind, seed: UInt64) throws {
      let page = 4096
      let pages = (16 << 20) / page
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "16M")
      var generator = SeededGenerator(seed: seed)
      // The versions that a page may hold: the one that is durable, and those written since.
      var allowed = [[UInt64]](repeating: [0], count: pages)
      for round in 0..<3 {
        let mount = try workspace.mount()
        let file = try OpenFile(mount.file(name), O_RDWR)
        for _ in 0..<Int.random(in: 20...120, using: &generator) {
          if Int.random(in: 0..<12, using: &generator) == 0 {
            try file.sync()
            for index in 0..<pages { allowed[index] = [allowed[index].last ?? 0] }
            continue
          }
          let first = Int.random(in: 0..<pages, using: &generator)
          let count = min(Int.random(in: 1...32, using: &generator), pages - first)
          let version = generator.next() | 1
          try file.write(contents(version, first: first, count: count), at: UInt64(first * page))
          for index in first..<first + count { allowed[index].append(version) }
        }
        try mount.kill()
        let again = try workspace.mount("-r")
        let disk = try OpenFile(again.file(name))
        for index in 0..<pages {
          let bytes = try disk.read(at: UInt64(index * page), count: page)
          let match = allowed[index].last { same(bytes, contents($0, first: index, count: 1)) }
          if match == nil { Issue.record("round \(round): page \(index) holds what was never written there") }
          allowed[index] = [match ?? 0]
        }
        _ = consume disk
        try again.unmount()
      }
    }

    private func contents(_ version: UInt64, first: Int, count: Int) -> [UInt8] {
      version == 0
        ? [UInt8](repeating: 0, count: count * 4096)
        : pattern(seed: version, at: UInt64(first * 4096), count: count * 4096)
    }

  }
}
