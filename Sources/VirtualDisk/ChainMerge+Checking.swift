import Storage
import VHDX

/// What is looked at before anything is changed.
extension ChainMerge {
  /// Errors: `.notSupported` where the destination cannot become what the source is, or a file has no room for what is to be
  /// said in it; `.invalidState` for a VHD whose machine is in saved state.
  package func check() throws(ImageError) {
    let path = escaped(destination.file.path)
    guard destination.logicalSectorSize == source.logicalSectorSize else {
      throw ImageError(
        .notSupported, "\(path): has sectors of another size than \(escaped(source.file.path))")
    }
    if case .raw = destination {
      throw ImageError(
        .notSupported, "\(path): is a raw file, into which nothing is merged; convert the child")
    }
    for image in images[...depth] { try ChainMerge.checkState(image.layer) }
    if case .vhdx(let image) = destination { return try checkRoomForWords(image) }
    guard destination.virtualSize != size else { return }
    throw ImageError(
      .notSupported,
      "\(path): has \(destination.virtualSize) bytes, and \(escaped(source.file.path)) has \(size); a VHD of a chain "
        + "cannot get another size: convert the child to a new image")
  }

  private static func checkState(_ layer: Layer) throws(ImageError) {
    guard case .vhd(let image) = layer, image.isInSavedState else { return }
    throw ImageError(
      .invalidState,
      "\(escaped(image.file.path)): its virtual machine is in saved state, which a merge would break; start the machine and "
        + "shut it down first")
  }

  /// In the metadata regions and the block table's, which a full one would tell in the middle only.
  private func checkRoomForWords(_ parent: VHDXImage) throws(ImageError) {
    guard case .vhdx(let image) = child, case .vhdx(let source) = source,
      let told = try announcement()
    else { return }
    _ = try parent.tableGrowth(forSize: size)
    var steps = [
      VHDXImage.merge(disk: try source.currentMetadata(), into: try parent.currentMetadata())
    ]
    if let locator = inheritedLocator() { steps.append(try parent.metadata(steps[0], with: locator)) }
    try parent.checkRoom(forMetadata: steps)

    var settled = told.child
    ChainMerge.settle(&settled, told.identity)
    try image.checkRoom(for: [told.child, settled])
    if depth > 1 { try source.checkRoom(for: [told.source]) }
  }

  /// Looks whether the host has room for what is going to be copied, before anything is changed. That it has is no
  /// promise. Waits.
  ///
  /// Errors: ENOSPC.
  package func checkRoom(_ step: (UInt64) throws(ImageError) -> Void) throws(ImageError) {
    guard let free = destination.file.freeRoom() else { return }
    var needed = try bytesWithoutRoom(step)
    if case .vhdx(let image) = destination { needed += try image.tableGrowth(forSize: size) }
    guard needed > free else { return }
    throw ImageError(
      errno: .noSpace,
      "\(escaped(destination.file.path)): would grow by \(needed) bytes or more, and its file system has \(free) free; make "
        + "room and merge again, or say force where it compresses")
  }

  /// Bytes of these for which the destination has no room yet. Waits.
  private func bytesWithoutRoom(_ step: (UInt64) throws(ImageError) -> Void) throws(ImageError) -> UInt64 {
    var bytes: UInt64 = 0
    try forEachHeld { (held) throws(ImageError) in
      try step(0)
      var done: UInt64 = 0
      while !held.isZero, done < held.length {
        let offset = held.offset + done
        guard offset < destination.virtualSize else {
          bytes += held.length - done
          break
        }
        let limit = min(held.length - done, destination.virtualSize - offset)
        let run = try destination.locate(offset, limit: limit, mayWait: true)
        if run.kind == .zero || run.kind == .parent { bytes += run.length }
        done += run.length
      }
    }
    return bytes
  }
}

extension VHDXImage {
  /// Whether the file can say this of its parent, one after the other. Errors: `.notSupported` when it has no room for it.
  func checkRoom(for locators: [VHDX.ParentLocator]) throws(ImageError) {
    let items = try currentMetadata()
    var steps: [[MetadataItem]] = []
    for locator in locators { steps.append(try metadata(items, with: locator)) }
    try checkRoom(forMetadata: steps)
  }
}
