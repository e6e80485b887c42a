import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Seeded changes through the mount, of every kind of image, and what is in the file afterwards.
  @Suite(.requiresPrograms("qemu-img", "7z", "vhdimount"))
  struct PatternTests {
    @Test(arguments: ImageKind.all)
    func writtenThroughTheMountAndReadByOthers(kind: ImageKind) throws {
      let workspace = try Workspace()
      let size = 40 << 20
      var model = DiskModel(size: size)
      let name = try workspace.make(kind, size: "40M")
      var parentSum: String?
      if kind.isChild {
        // The parent was made first and is written before it is a parent in use: its child is made anew.
        let parent = workspace.image("image-parent.\(kind.format)")
        unlink(workspace.image(name))
        let mount = try workspace.mount()
        try change(mount.file("image-parent.\(kind.format)"), &model, seed: 1, changes: 30)
        try mount.unmount()
        try Vhdfs.create(workspace.image(name), kind.options(size: "40M", parent: parent))
        parentSum = try sha256(ofFile: parent)
      }
      let mount = try workspace.mount()
      try change(mount.file(name), &model, seed: 2, changes: 60)
      try mount.unmount()
      try Oracles.compare(workspace.image(name), kind, with: model)

      let again = try workspace.mount("-r")
      let difference = try model.firstDifference(inFile: again.file(name))
      #expect(difference == nil)
      try again.unmount()
      if let parentSum {
        #expect(try sha256(ofFile: workspace.image("image-parent.\(kind.format)")) == parentSum)
      }
    }

    /// Sizes that are no multiple of anything but the sector.
    @Test(arguments: ImageKind.typical)
    func oddSizes(kind: ImageKind) throws {
      let workspace = try Workspace()
      let size = 5_242_880 + 3 * 512
      let name = try workspace.make(kind, size: String(size))
      var model = DiskModel(size: size)
      let mount = try workspace.mount()
      try change(mount.file(name), &model, seed: 3, changes: 40)
      let end = try OpenFile(mount.file(name), O_RDWR)
      let last = pattern(seed: 4, count: 700)
      try end.write(last, at: UInt64(size - 700))
      model.write(last, at: size - 700)
      #expect(try end.read(at: UInt64(size - 100), count: 4096).count == 100)
      let beyond = pwrite(end.descriptor, last, 512, off_t(size))
      #expect(beyond < 0 && [ENOSPC, EFBIG, EINVAL].contains(errno), "a write beyond the end gave \(beyond)")
      _ = consume end
      try mount.unmount()
      try Oracles.compare(workspace.image(name), kind, with: model)
    }

    /// libvhdi reads chains too, if nothing is in them that it is known to read wrongly: blocks of zeros in a child, and
    /// bytes of a VHD child's bitmap of which not all bits are set.
    @Test(arguments: ImageKind.all.filter { $0.isChild && $0.sectorSize == 512 })
    func libvhdiReadsChains(kind: ImageKind) throws {
      let workspace = try Workspace()
      var model = DiskModel(size: 24 << 20)
      var base = kind
      base.kind = .dynamic
      var names = ["0.\(kind.format)"]
      try Vhdfs.create(workspace.image(names[0]), base.options(size: "24M"))
      for depth in 0..<4 {
        if depth > 0 {
          names.append("\(depth).\(kind.format)")
          let parent = workspace.image(names[depth - 1])
          try Vhdfs.create(workspace.image(names[depth]), kind.options(size: "24M", parent: parent))
        }
        let mount = try workspace.mount()
        do {
          let file = try OpenFile(mount.file(names[depth]), O_RDWR)
          var workload = SeededWorkload(seed: UInt64(depth))
          workload.alignment = 4096
          workload.discards = false
          #expect(try workload.run(12, on: file, &model) == nil)
        }
        try mount.unmount()
      }
      let directory = try TemporaryDirectory()
      try runChecked(["vhdimount", workspace.image(names[3]), directory.path])
      defer { _ = try? runChecked(["umount", directory.path]) }
      let difference = try model.firstDifference(inFile: directory.file("vhdi4"))
      #expect(difference == nil, "libvhdi reads other bytes")
    }

    private func change(_ path: String, _ model: inout DiskModel, seed: UInt64, changes: Int) throws {
      let file = try OpenFile(path, O_RDWR)
      var workload = SeededWorkload(seed: seed)
      let difference = try workload.run(changes, on: file, &model)
      #expect(difference == nil, "a read while writing gave other bytes")
      let whole = try model.firstDifference(inFile: path)
      #expect(whole == nil, "other bytes after writing")
    }
  }
}
