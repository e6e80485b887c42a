import Glibc
import TestSupport
import Testing

/// The chains that are merged.
extension MountTests.MergeTests {
  static let roots: [ImageKind] = [
    ImageKind(format: "vhdx", kind: .dynamic, blockSize: "2M"),
    ImageKind(format: "vhdx", kind: .dynamic, blockSize: "32M"),
    ImageKind(format: "vhdx", kind: .fixed, blockSize: "1M"),
    ImageKind(format: "vhdx", kind: .dynamic, blockSize: "2M", sectorSize: 4096),
    ImageKind(format: "vhd", kind: .dynamic, blockSize: "2M"),
    ImageKind(format: "vhd", kind: .dynamic, blockSize: "512K"),
    ImageKind(format: "vhd", kind: .fixed),
  ]

  /// Makes a chain of so many files, `0.` the root, each written at random; answers what each reads as.
  static func makeChain(
    _ workspace: Workspace, _ root: ImageKind, count: Int, megabytes: Int = 24, options: [String] = []
  ) throws -> [DiskModel] {
    var model = DiskModel(size: megabytes << 20)
    var models: [DiskModel] = []
    var child = root
    child.kind = .differencing
    if root.format == "vhd", child.blockSize == nil { child.blockSize = "2M" }
    for level in 0..<count {
      let name = "\(level).\(root.format)"
      try Vhdfs.create(
        workspace.image(name),
        level == 0
          ? root.options(size: "\(megabytes)M")
          : child.options(size: "", parent: workspace.image("\(level - 1).\(root.format)")))
      let mount = try VhdfsMount([workspace.images], at: workspace.mountPoint, options, keeping: workspace)
      try write(mount.file(name), &model, seed: UInt64(level * 10 + 1), changes: level == 0 ? 30 : 12)
      if !options.isEmpty {
        #expect(mkdir(mount.file(name, "points/one"), 0o777) == 0)
        try write(mount.file(name), &model, seed: UInt64(level * 10 + 2), changes: 5)
      }
      try mount.unmount()
      models.append(model)
    }
    return models
  }

  static func write(_ path: String, _ model: inout DiskModel, seed: UInt64, changes: Int) throws {
    let file = try OpenFile(path, O_RDWR)
    var workload = SeededWorkload(seed: seed)
    let difference = try workload.run(changes, on: file, &model)
    #expect(difference == nil, "a read while writing gave other bytes")
  }
}
