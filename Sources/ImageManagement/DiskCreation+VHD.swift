import Storage
import VHD
import VirtualDisk

extension DiskCreation {
  func makeVHD() throws(ImageError) {
    for size in [logicalSectorSize, physicalSectorSize] {
      if let size, size != 512 { throw refusal("a VHD has sectors of 512 bytes; a VHDX can have others") }
    }
    guard let parent else {
      return try make(
        VHDCreation(
          kind: type == .fixed ? .fixed(reserve: reservesRoom) : .dynamic, virtualSize: virtualSize ?? 0,
          blockSize: try vhdBlockSize, roundsUpToMebibyte: isForAzure))
    }
    let (facts, file) = try openParent(parent, format: .vhd)
    if let size = virtualSize, size != facts.virtualSize {
      throw refusal(
        "a VHD child has its parent's size, \(facts.virtualSize) bytes; a VHDX child can have another")
    }
    let image = try VHDImage(file)
    let reference = VHDParent(
      uniqueID: image.footer.uniqueID,
      // Not said, as Windows 10 does it: Windows refuses a parent whose time differs, and copying changes it.
      timeStamp: 0, relativePath: try RelativePath.recorded(from: path, to: parent),
      absolutePath: try RelativePath.resolved(parent).string)
    // The file holds the lock on the parent until the child is there.
    try withExtendedLifetime(file) { () throws(ImageError) in
      try make(
        VHDCreation(
          kind: .differencing(parent: reference), virtualSize: facts.virtualSize,
          blockSize: try vhdBlockSize))
    }
  }

  private var vhdBlockSize: UInt32 {
    get throws(ImageError) {
      guard let blockSize else { return 2 << 20 }
      guard let size = UInt32(exactly: blockSize) else {
        throw refusal("a VHD has blocks of 512 KiB or 2 MiB")
      }
      return size
    }
  }

  private func make(_ options: VHDCreation) throws(ImageError) {
    try NewFile.make(path) { (file) throws(ImageError) in try VHDImage.create(file, options) }
  }
}
