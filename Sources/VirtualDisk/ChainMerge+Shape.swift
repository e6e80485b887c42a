import ChangeTracking
import Storage
import VHDX

/// Size and metadata of the destination.
extension ChainMerge {
  /// Gives the destination, whose writing has begun, the source's size and what belongs to the disk of its metadata.
  func shape(
    _ identity: ImageState.WriteIdentity, _ step: (UInt64) throws(ImageError) -> Void
  ) throws(ImageError) {
    guard case .vhdx(let image) = destination, case .vhdx(let source) = source else { return }
    let items = VHDXImage.merge(disk: try source.currentMetadata(), into: try image.currentMetadata())
    if image.virtualSize < size {
      try grow(image, items, identity, step)
    } else if image.virtualSize > size {
      try shrink(image, items, identity)
    } else {
      try image.replaceMetadata(items)
    }
  }

  private func grow(
    _ image: VHDXImage, _ items: [MetadataItem], _ identity: ImageState.WriteIdentity,
    _ step: (UInt64) throws(ImageError) -> Void
  ) throws(ImageError) {
    let old = image.virtualSize
    try image.makeRoom(forSize: size)
    try image.finishWriting()
    let grown = try VHDXImage(image.file, presentedSize: size)
    replaceDestination(.vhdx(grown))
    try destination.beginWriting(identity)
    // Behind the old end the chain reads zeros, and must when the size says that there is something.
    let disk = destinationDisk()
    var position = old
    while position < size {
      let count = min(size - position, ChainMerge.zeroLength)
      try disk.zero(at: position, length: count)
      position += count
      try step(0)
    }
    if grown.isFixed { try grown.allocateAll(from: old) }
    // What was zeroed is committed by this before the size is.
    try grown.replaceMetadata(items)
  }

  private func shrink(
    _ image: VHDXImage, _ items: [MetadataItem], _ identity: ImageState.WriteIdentity
  ) throws(ImageError) {
    let old = image.virtualSize
    try image.replaceMetadata(items)
    try image.finishWriting()
    let shrunk = try VHDXImage(image.file)
    replaceDestination(.vhdx(shrunk))
    try destination.beginWriting(identity)
    try shrunk.clearEntries(ofSize: old)
  }
}
