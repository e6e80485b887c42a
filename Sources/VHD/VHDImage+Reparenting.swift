import Storage

extension VHDImage {
  /// Gives a differencing image another parent: the dynamic header's "Parent Unique ID", "Parent Time Stamp" and "Parent
  /// Unicode Name", and the locators W2ku and W2ru (format paper, "Dynamic Disk Header Format"; locators of other systems
  /// are dropped). The blocks, the disk's size and the image's own identity stay as they are; whether the disk reads the
  /// same over that parent is the caller's word.
  ///
  /// Writing has begun, and nobody else uses the image. Durable when it returns; a crash leaves the old parent or the new one,
  /// each whole (see `BlockStore.replaceParent`). This object can only read after that, and goes on to name the old parent:
  /// open the file anew, and begin and finish writing, which cuts off what was needed on the way.
  ///
  /// Errors: `.notSupported` for an image without a parent; `.invalidState` when writing has not begun; `.invalidParameter`
  /// for paths longer than the format's; the host's. After an error other than for want of room the object takes no more
  /// writes; the file is whole.
  public func replaceParent(_ parent: VHDParent) throws(ImageError) {
    guard let blocks, isDifferencing else {
      throw ImageError(.notSupported, "\(escaped(file.path)): is not differencing, and has no parent")
    }
    try parent.check(for: file)
    try blocks.replaceParent(parent)
  }
}
