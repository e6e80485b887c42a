import Storage
import VHDX
import VirtualDisk

extension DiskCreation {
  /// What Hyper-V takes for children: small blocks keep a child small.
  private static let childBlockSize: UInt64 = 2 << 20
  private static let usualBlockSize: UInt64 = 32 << 20

  func makeVHDX() throws(ImageError) {
    guard let parent else {
      var options = VHDXCreation(
        kind: type == .fixed ? .fixed(reserve: reservesRoom) : .dynamic, virtualSize: virtualSize ?? 0,
        blockSize: blockSize ?? DiskCreation.usualBlockSize)
      options.logicalSectorSize = logicalSectorSize ?? 512
      options.physicalSectorSize = physicalSectorSize ?? 4096
      return try make(options)
    }
    let (facts, file) = try openParent(parent, format: .vhdx)
    let image = try VHDXImage(file)
    if let size = logicalSectorSize, size != image.logicalSectorSize {
      throw refusal("a child has its parent's logical sector size, \(image.logicalSectorSize) bytes")
    }
    let locator = ParentLocator(
      linkage: image.dataWriteGUID, relativePath: try RelativePath.recorded(from: path, to: parent),
      absoluteWin32Path: ParentLocator.windowsPath(ofHostPath: try RelativePath.resolved(parent).string))
    // The file holds the lock on the parent until the child is there.
    try withExtendedLifetime(file) { () throws(ImageError) in
      try make(
        VHDXCreation(
          kind: .differencing(parent: locator, inherited: image.metadataItems),
          virtualSize: virtualSize ?? facts.virtualSize, blockSize: blockSize ?? DiskCreation.childBlockSize,
          logicalSectorSize: image.logicalSectorSize,
          physicalSectorSize: physicalSectorSize ?? image.physicalSectorSize,
          virtualDiskID: image.virtualDiskID))
    }
  }

  private func make(_ options: VHDXCreation) throws(ImageError) {
    try NewFile.make(path) { (file) throws(ImageError) in try VHDXImage.create(file, options) }
  }
}
