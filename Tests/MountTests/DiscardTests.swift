import Glibc
import LinuxSystem
import TestSupport
import Testing

extension MountTests {
  /// Punched and zeroed ranges read as zero for everybody, and whole blocks give their room back.
  @Suite struct DiscardTests {
    static let sparse = ImageKind.typical.filter { $0.kind != .fixed }

    @Test(.requiresPrograms("qemu-img", "7z", "vhdimount"), arguments: ImageKind.typical, [false, true])
    func punchedAndZeroedRangesReadZero(kind: ImageKind, zeroing: Bool) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "32M")
      var model = DiskModel(size: 32 << 20)
      let mount = try workspace.mount()
      do {
        let file = try OpenFile(mount.file(name), O_RDWR)
        let bytes = pattern(seed: 1, count: 32 << 20)
        try file.write(bytes, at: 0)
        model.write(bytes, at: 0)
        try file.sync()
        // A whole block and more, parts of a block, a few bytes; one range in pieces that make a whole block.
        let ranges = [
          (4 << 20, 4 << 20), (9 << 20, 100_000), (10 << 20 + 777, 4321), (12 << 20, 1 << 20),
          (13 << 20, 1 << 20),
          (31 << 20, 1 << 20),
        ]
        for (offset, length) in ranges {
          let result =
            zeroing
            ? linux_zero_range(file.descriptor, off_t(offset), off_t(length))
            : linux_punch_hole(file.descriptor, off_t(offset), off_t(length))
          #expect(result == 0, "\(offset) \(length): \(String(cString: strerror(errno)))")
          model.zero(at: offset, length: length)
        }
        #expect(try model.firstDifference(inFile: mount.file(name)) == nil)
      }
      try mount.unmount()
      try Oracles.compare(workspace.image(name), kind, with: model)
      let again = try workspace.mount("-r")
      #expect(try model.firstDifference(inFile: again.file(name)) == nil)
      try again.unmount()
    }

    /// The parent's data is hidden, not shown, where its child was punched.
    @Test(arguments: ImageKind.typical.filter(\.isChild))
    func punchedChildHidesItsParent(kind: ImageKind) throws {
      let workspace = try Workspace()
      let parent = workspace.image("parent.\(kind.format)")
      var base = kind
      base.kind = .dynamic
      try Vhdfs.create(parent, base.options(size: "16M"))
      var model = DiskModel(size: 16 << 20)
      let first = try workspace.mount()
      let bytes = pattern(seed: 2, count: 16 << 20)
      try OpenFile(first.file("parent.\(kind.format)"), O_RDWR).write(bytes, at: 0)
      model.write(bytes, at: 0)
      try first.unmount()
      let name = "child.\(kind.format)"
      try Vhdfs.create(workspace.image(name), kind.options(size: "16M", parent: parent))
      let mount = try workspace.mount()
      do {
        let file = try OpenFile(mount.file(name), O_RDWR)
        for (offset, length) in [(2 << 20, 4 << 20), (8 << 20 + 512, 4096), (12 << 20 + 100, 1000)] {
          #expect(linux_punch_hole(file.descriptor, off_t(offset), off_t(length)) == 0)
          model.zero(at: offset, length: length)
        }
        // Zeros written are data like any other: the parent must not show through.
        try file.write([UInt8](repeating: 0, count: 3 << 20), at: 13 << 20)
        model.zero(at: 13 << 20, length: 3 << 20)
      }
      #expect(try model.firstDifference(inFile: mount.file(name)) == nil)
      try mount.unmount()
      try Oracles.compare(workspace.image(name), kind, with: model)
    }

    @Test(arguments: sparse)
    func wholeBlocksGiveTheirRoomBack(kind: ImageKind) throws {
      // A VHD child has no way to say that a block is zero: it writes the zeros.
      guard !(kind.format == "vhd" && kind.isChild) else { return }
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "64M")
      let mount = try workspace.mount()
      do {
        let file = try OpenFile(mount.file(name), O_RDWR)
        try file.write(pattern(seed: 3, count: 48 << 20), at: 0)
        try file.sync()
        #expect(try sizes(of: workspace.image(name)).allocated >= 48 << 20)
        #expect(linux_punch_hole(file.descriptor, 0, 40 << 20) == 0)
        try file.sync()
      }
      try mount.unmount()
      let after = try sizes(of: workspace.image(name)).allocated
      #expect(after < 16 << 20, "\(after >> 20) MiB are still in use")
    }

    @Test(.requiresLoopDevice, .requiresPrograms("fstrim", "mkfs.ext4"), arguments: ImageKind.main)
    func fstrimGivesRoomBack(kind: ImageKind) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "256M")
      let mount = try workspace.mount()
      let device = try LoopDevice(mount.file(name), ["--direct-io=on"])
      try runChecked(["mkfs.ext4", "-q", "-F", device.path])
      let inside = try MountedFileSystem(device.path, at: workspace.root.directory("inside"))
      try writeFile("\(inside.path)/large", pattern(seed: 4, count: 128 << 20))
      try runChecked(["sync", "-f", inside.path])
      let full = try sizes(of: workspace.image(name)).allocated
      #expect(full >= 128 << 20)
      unlink("\(inside.path)/large")
      try runChecked(["sync", "-f", inside.path])
      try runChecked(["fstrim", inside.path])
      try inside.unmount()
      let check = try run(["fsck.ext4", "-f", "-n", device.path])
      #expect(check.succeeded, "\(check.summary)")
      try device.detach()
      try mount.unmount()
      let trimmed = try sizes(of: workspace.image(name)).allocated
      #expect(trimmed < full - (96 << 20), "\(full >> 20) MiB before, \(trimmed >> 20) MiB after")
    }

    @Test(.requiresLoopDevice, .requiresPrograms("blkdiscard"), arguments: ImageKind.main)
    func blkdiscardZeroes(kind: ImageKind) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "16M")
      var model = DiskModel(size: 16 << 20)
      let mount = try workspace.mount()
      let bytes = pattern(seed: 5, count: 16 << 20)
      try OpenFile(mount.file(name), O_RDWR).write(bytes, at: 0)
      model.write(bytes, at: 0)
      let device = try LoopDevice(mount.file(name), ["--direct-io=on"])
      for (offset, length, options) in [
        (1 << 20, 5 << 20, ["-z"]), (8 << 20 + 4096, 8192, ["-z"]), (10 << 20, 2 << 20, []),
      ] {
        try runChecked(["blkdiscard"] + options + ["-o", String(offset), "-l", String(length), device.path])
        model.zero(at: offset, length: length)
      }
      #expect(try model.firstDifference(inFile: device.path) == nil)
      try device.detach()
      #expect(try model.firstDifference(inFile: mount.file(name)) == nil)
      try mount.unmount()
    }

    /// What holds no data is a hole for cp, lseek and qemu-img.
    @Test(.requiresPrograms("qemu-img"), arguments: ImageKind.main)
    func holesAreTold(kind: ImageKind) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "256M")
      var model = DiskModel(size: 256 << 20)
      let mount = try workspace.mount()
      do {
        let file = try OpenFile(mount.file(name), O_RDWR)
        for offset in [0, 64 << 20, 255 << 20] {
          let bytes = pattern(seed: UInt64(offset), count: 1 << 20)
          try file.write(bytes, at: UInt64(offset))
          model.write(bytes, at: offset)
        }
        #expect(linux_seek_data(file.descriptor, 0) == 0)
        let hole = linux_seek_hole(file.descriptor, 0)
        #expect(hole >= 1 << 20 && hole <= 2 << 20, "the first hole is at \(hole)")
        let data = linux_seek_data(file.descriptor, hole)
        #expect(data <= 64 << 20 && data >= 62 << 20, "data goes on at \(data)")
        #expect(linux_seek_hole(file.descriptor, off_t(256 << 20) - 1) == 256 << 20)
        #expect(linux_seek_data(file.descriptor, off_t(256 << 20)) == -1 && errno == ENXIO)
      }
      let copy = workspace.root.file("copy")
      try runChecked(["cp", "--sparse=auto", mount.file(name), copy])
      #expect(try model.firstDifference(inFile: copy) == nil)
      #expect(try sizes(of: copy).allocated < 16 << 20)
      let map = try runChecked(["qemu-img", "map", "-f", "raw", "--output=json", mount.file(name)])
      let dataLines = map.split(separator: "\n").filter { $0.contains("\"data\": true") }
      #expect(dataLines.count == 3, "\(map)")
      try mount.unmount()
    }
  }
}
