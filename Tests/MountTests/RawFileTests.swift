import Glibc
import TestSupport
import TestSystem
import Testing

extension MountTests {
  /// A raw file behaves as a block device does.
  struct RawFileTests {
    private func mounted(_ kind: ImageKind = ImageKind.main[0], size: String = "16M") throws
      -> (Workspace, VhdfsMount, String)
    {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: size)
      return (workspace, try workspace.mount(), name)
    }

    @Test func truncationAtTheOpenIsIgnored() throws {
      let (_, mount, name) = try mounted()
      let path = mount.file(name)
      try OpenFile(path, O_RDWR).write(pattern(seed: 1, count: 8192), at: 0)
      do {
        let file = try OpenFile(path, O_RDWR | O_TRUNC)
        #expect(file.size == 16 << 20)
        #expect(try same(file.read(at: 0, count: 8192), pattern(seed: 1, count: 8192)))
      }
      // As people do it.
      let input = mount.path + "/../input"
      try writeFile(input, pattern(seed: 2, count: 1 << 20))
      try runChecked(["dd", "if=\(input)", "of=\(path)", "bs=64k", "status=none"])
      try runChecked(["cp", input, path])
      try runChecked(["sh", "-c", "cat \"$1\" > \"$2\"", "sh", input, path])
      #expect(try OpenFile(path).read(at: 0, count: 1 << 20) == pattern(seed: 2, count: 1 << 20))
      #expect(try sizes(of: path).size == 16 << 20)
      try mount.unmount()
    }

    @Test func truncationIsNotPermitted() throws {
      let (_, mount, name) = try mounted()
      for size in [0, 1, (16 << 20) - 1, (16 << 20) + 1] as [off_t] {
        #expect(truncate(mount.file(name), size) == -1 && errno == EPERM, "to \(size)")
      }
      #expect(truncate(mount.file(name), 16 << 20) == 0)
      #expect(unlink(mount.file(name)) == -1)
      #expect(mkdir(mount.file(name, "x"), 0o700) == -1)
      #expect(open(mount.file(name, "x"), O_CREAT | O_RDWR, 0o600) == -1)
      #expect(rename(mount.file(name), mount.file(name, "y")) == -1)
      try mount.unmount()
    }

    /// Open, write and close again and again: a close that is still under way does not stand in the next one's way.
    @Test(arguments: ImageKind.main)
    func manyShortOpens(kind: ImageKind) throws {
      let (workspace, mount, name) = try mounted(kind)
      var model = DiskModel(size: 16 << 20)
      for index in 0..<200 {
        let bytes = pattern(seed: UInt64(index), count: 512)
        let file = try OpenFile(mount.file(name), O_RDWR)
        try file.write(bytes, at: UInt64(index * 70_000))
        model.write(bytes, at: index * 70_000)
      }
      #expect(try model.firstDifference(inFile: mount.file(name)) == nil)
      try mount.unmount()
      try Oracles.compare(workspace.image(name), kind, with: model)
    }

    @Test func sharedMappingWorksOrIsRefused() throws {
      let (_, mount, name) = try mounted()
      let file = try OpenFile(mount.file(name), O_RDWR)
      try file.write(pattern(seed: 3, count: 65536), at: 0)
      let address = mmap(nil, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor, 0)
      if address == MAP_FAILED {
        #expect(errno == ENODEV)
      } else if let address {
        let bytes = UnsafeMutableRawBufferPointer(start: address, count: 65536)
        #expect(bytes.elementsEqual(pattern(seed: 3, count: 65536)))
        // What is written through the file is seen in the mapping, and the other way round.
        try file.write([0x77], at: 4096)
        #expect(bytes[4096] == 0x77)
        bytes[8192] = 0x78
        #expect(msync(address, 65536, Int32(MS_SYNC)) == 0)
        #expect(try file.read(at: 8192, count: 1) == [0x78])
        munmap(address, 65536)
      }
      _ = consume file
      try mount.unmount()
    }

    /// The disk and its partitions are windows on the same bytes, at once.
    @Test(.requiresPrograms("sfdisk"))
    func diskAndPartitionsAgree() throws {
      let (_, mount, name) = try mounted()
      try runChecked(
        ["sfdisk", "-q", mount.file(name)],
        input: Array("label: gpt\nstart=1MiB, size=4MiB\nstart=8MiB\n".utf8))
      #expect(eventually(within: 3) { fileExists(mount.file(name, "partitions/2")) })
      #expect(try names(in: mount.file(name, "partitions")) == ["1", "2"])
      #expect(try sizes(of: mount.file(name, "partitions/1")).size == 4 << 20)
      let disk = try OpenFile(mount.file(name), O_RDWR)
      let partition = try OpenFile(mount.file(name, "partitions/1"), O_RDWR)
      var generator = SeededGenerator(seed: 4)
      for _ in 0..<100 {
        let offset = UInt64.random(in: 0..<(4 << 20) - 70_000, using: &generator)
        let bytes = pattern(seed: generator.next(), count: Int.random(in: 1...70_000, using: &generator))
        if Bool.random(using: &generator) {
          try disk.write(bytes, at: offset + 1 << 20)
          #expect(try same(partition.read(at: offset, count: bytes.count), bytes))
        } else {
          try partition.write(bytes, at: offset)
          #expect(try same(disk.read(at: offset + 1 << 20, count: bytes.count), bytes))
        }
      }
      // Nothing beyond the window.
      let byte: [UInt8] = [1]
      #expect(pwrite(partition.descriptor, byte, 1, 4 << 20) == -1)
      #expect(try partition.read(at: 4 << 20, count: 1).isEmpty)
      _ = consume partition
      _ = consume disk
      try mount.unmount()
    }

    @Test func directTransfersOfAnySize() throws {
      let (_, mount, name) = try mounted()
      let file = test_open_special(mount.file(name), Int32(TEST_OPEN_DIRECT))
      #expect(file >= 0)
      defer { close(file) }
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 << 20, alignment: 4096)
      defer { memory.deallocate() }
      for (offset, length) in [(0, 4096), (512, 512), (1 << 20, 4 << 20), (5_000_192, 1_048_576 + 512)] {
        let bytes = pattern(seed: UInt64(offset), count: length)
        memory.copyBytes(from: bytes)
        #expect(pwrite(file, memory.baseAddress, length, off_t(offset)) == length)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        #expect(pread(file, memory.baseAddress, length, off_t(offset)) == length)
        #expect(memory.prefix(length).elementsEqual(bytes))
      }
    }

    /// Sector sizes of the loop device, its partitions, and direct I/O.
    @Test(.requiresLoopDevice, .requiresPrograms("sfdisk", "partx", "mkfs.ext4"), arguments: [512, 4096])
    func loopDeviceWithPartitions(sectorSize: Int) throws {
      let kind = ImageKind(format: "vhdx", kind: .dynamic, blockSize: "2M", sectorSize: sectorSize)
      let (workspace, mount, name) = try mounted(kind, size: "64M")
      let device = try LoopDevice(mount.file(name), ["-P", "--direct-io=on", "-b", String(sectorSize)])
      let facts = try runChecked(["losetup", "-n", "-l", "-O", "DIO,LOG-SEC", device.path]).split(
        separator: " ")
      #expect(
        facts.first.map(String.init) == "1" && facts.last?.prefix { $0.isNumber } ?? "" == "\(sectorSize)")
      try runChecked(["sfdisk", "-q", device.path], input: Array("label: gpt\nstart=1MiB\n".utf8))
      let partition = try device.partition(1)
      try runChecked(["mkfs.ext4", "-q", "-F", partition])
      let inside = try MountedFileSystem(partition, at: workspace.root.directory("inside"))
      try writeFile("\(inside.path)/file", pattern(seed: 9, count: 5 << 20))
      try inside.unmount()
      let check = try run(["fsck.ext4", "-f", "-n", partition])
      #expect(check.succeeded, "\(check.summary)")
      try device.detach()
      #expect(eventually(within: 3) { fileExists(mount.file(name, "partitions/1")) })
      let window = try run(["fsck.ext4", "-f", "-n", mount.file(name, "partitions/1")])
      #expect(window.succeeded, "\(window.summary)")
      try mount.unmount()
    }
  }
}
