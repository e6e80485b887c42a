import Storage
import TestSupport
import VHD
import VHDX

extension ModelledDisk {
  /// The size of the disks of `chain`, in bytes.
  package static let defaultSize = 5 << 20

  /// Makes a chain with known contents: parents with data here and there, and an empty leaf (a fixed one is zero).
  package static func chain(_ kind: ChainKind, seed: UInt64) throws -> ModelledDisk {
    var model = try ModelledDisk(
      leaf: try file(kind, parent: nil), parents: [], size: defaultSize,
      contents: .init(repeating: 0, count: defaultSize))
    var parents: [SparseBytes] = []
    for level in 0..<kind.parentCount {
      try model.write(pattern(seed: seed &+ UInt64(level), count: 600_000), at: 4096 * (100 + level * 77))
      try model.write(pattern(seed: seed &+ 9, count: 8192), at: 3 << 20)
      try model.finish()
      parents.insert(model.file.contents, at: 0)
      model = try ModelledDisk(
        leaf: try file(kind, parent: parents[0]), parents: parents, size: defaultSize, contents: model.now)
    }
    return model
  }

  /// A new file of the kind, on `parent` if there is one.
  package static func file(_ kind: ChainKind, parent: SparseBytes?) throws -> RecordedFile {
    let double = RecordedFile()
    let file = HostFile(path: "new", double: double)
    let above = parent.map { HostFile(path: "parent", double: RecordedFile($0)) }
    if kind.isVHD {
      let parent = try above.map {
        VHDParent(
          uniqueID: try VHDImage($0).footer.uniqueID, timeStamp: 0, relativePath: ".\\parent.vhd",
          absolutePath: "C:\\parent.vhd")
      }
      try VHDImage.create(
        file,
        VHDCreation(
          kind: kind.isFixed ? .fixed(reserve: false) : parent.map { .differencing(parent: $0) } ?? .dynamic,
          virtualSize: UInt64(defaultSize), blockSize: 512 << 10))
    } else {
      let parent = try above.map {
        VHDX.ParentLocator(linkage: try VHDXImage($0).dataWriteGUID, relativePath: ".\\parent.vhdx")
      }
      try VHDXImage.create(
        file,
        VHDXCreation(
          kind: kind.isFixed
            ? .fixed(reserve: false) : parent.map { .differencing(parent: $0, inherited: []) } ?? .dynamic,
          virtualSize: UInt64(defaultSize), blockSize: 1 << 20,
          logicalSectorSize: kind == .child4KVHDX ? 4096 : 512,
          physicalSectorSize: 4096))
    }
    return double
  }
}
