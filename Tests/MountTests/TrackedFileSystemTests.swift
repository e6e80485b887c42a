import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Changed ranges of disks with file systems in use: a copy that is brought up to date by them is the disk.
  @Suite(.requiresLoopDevice) struct TrackedFileSystemTests {
    /// Copies the ranges of an answer from one file to another.
    private func copy(_ ranges: [Range<UInt64>], from source: String, to target: String) throws -> UInt64 {
      let (from, to) = (try OpenFile(source), try OpenFile(target, O_RDWR))
      var total: UInt64 = 0
      for range in ranges {
        var position = range.lowerBound
        while position < range.upperBound {
          let bytes = try from.read(at: position, count: Int(min(range.upperBound - position, 1 << 20)))
          try to.write(bytes, at: position)
          position += UInt64(bytes.count)
          total += UInt64(bytes.count)
        }
      }
      return total
    }

    @Test(.requiresPrograms("mkfs.ext4", "cmp"), arguments: ImageKind.typical)
    func changesCoverWhatDiffers(kind: ImageKind) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "64M")
      let mount = try workspace.mount("--track")
      let disk = mount.file(name)
      let copyPath = workspace.root.file("copy")
      let folder = try workspace.root.directory("files")
      let device = try LoopDevice(disk, kind.sectorSize == 4096 ? ["-b", "4096"] : [])
      try runChecked(["mkfs.ext4", "-q", device.path])
      let files = try MountedFileSystem(device.path, at: folder)
      try writeFile("\(folder)/first", pattern(seed: 1, count: 5 << 20))
      try runChecked(["fsfreeze", "-f", folder])
      #expect(mkdir(mount.file(name, "points/full"), 0o777) == 0)
      try runChecked(["cp", "--sparse=never", disk, copyPath])
      try runChecked(["fsfreeze", "-u", folder])
      // Written, removed, discarded.
      try writeFile("\(folder)/second", pattern(seed: 2, count: 3 << 20))
      try runChecked(["rm", "\(folder)/first"])
      try runChecked(["sync", "-f", folder])
      try runChecked(["fstrim", folder])
      try files.unmount()
      try device.detach()
      #expect(mkdir(mount.file(name, "points/next"), 0o777) == 0)
      let answer = try mount.text(name, "control/changes?limit=full")
      let ranges = try TrackingTests.ranges(answer, of: 64 << 20)
      #expect(!ranges.isEmpty)
      #expect(try copy(ranges, from: disk, to: copyPath) < 64 << 20)
      try runChecked(["cmp", disk, copyPath])
      let nothing = try mount.text(name, "control/changes?limit=next")
      #expect(try TrackingTests.ranges(nothing, of: 64 << 20).isEmpty)
      try mount.unmount()
    }

    @Test(.requiresPrograms("cmp"), arguments: ImageKind.typical.filter(\.isChild))
    func whatAChildHolds(kind: ImageKind) throws {
      let workspace = try Workspace()
      let parent = "parent.\(kind.format)"
      var base = kind
      base.kind = .dynamic
      try Vhdfs.create(workspace.image(parent), base.options(size: "32M"))
      let copyPath = workspace.root.file("copy")
      let first = try workspace.mount()
      try OpenFile(first.file(parent), O_RDWR).write(pattern(seed: 1, count: 8 << 20), at: 0)
      try runChecked(["cp", "--sparse=never", first.file(parent), copyPath])
      try first.unmount()
      let name = "child.\(kind.format)"
      try Vhdfs.create(workspace.image(name), kind.options(size: "32M", parent: workspace.image(parent)))
      let mount = try workspace.mount()
      do {
        let disk = try OpenFile(mount.file(name), O_RDWR)
        try disk.write(pattern(seed: 2, count: 100_000), at: 3_000_000)
        try disk.write(pattern(seed: 3, count: 4096), at: 20 << 20)
      }
      let ranges = try TrackingTests.ranges(
        try mount.text(name, "control/changes?limit=parent"), of: 32 << 20)
      #expect(try copy(ranges, from: mount.file(name), to: copyPath) < 1 << 20)
      try runChecked(["cmp", mount.file(name), copyPath])
      let picture = try mount.text(name, "control/map.svg")
      #expect(picture.contains("Allocated in a parent") && picture.hasSuffix("</svg>\n"))
      try mount.unmount()
      #expect(try Vhdfs.runChecked(["map", "--svg", workspace.image(name)]).contains("child.\(kind.format)"))
    }
  }
}
