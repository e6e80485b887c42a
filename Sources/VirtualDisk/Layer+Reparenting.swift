import ChangeTracking
import Storage
import VHD
import VHDX

extension Layer {
  /// Lets a differencing file say that another is its parent, durably, whatever its format; what it shows over that one is
  /// the caller's word. The file is closed then, with its record: no content was changed. Nobody else uses it. Waits.
  ///
  /// - Parameters:
  ///   - relativePath: from the child's directory, with backslashes.
  ///   - absolutePath: on this host, with slashes.
  ///
  /// Returns the file opened anew, which says so; the object here says what it said before. After an error the file has the old
  /// parent or the new one. Errors: `.notSupported` for files of two formats; `.invalidParameter` for paths that are
  /// too long; the host's.
  @discardableResult
  func replaceParent(
    _ parent: Layer, relativePath: String, absolutePath: String, _ tracking: DiskTracking
  ) throws(ImageError) -> Layer {
    switch (self, parent) {
    case (.vhdx(let image), .vhdx(let parent)):
      let locator = try Layer.locator(image, naming: parent, relativePath, absolutePath)
      try replaceParentLocator(locator, image, tracking)
      return try Layer(file)
    case (.vhd(let image), .vhd(let parent)):
      let reference = VHDParent(
        uniqueID: parent.footer.uniqueID,
        // Not said, as when a child is made: Windows refuses a parent whose time differs, and copying changes it.
        timeStamp: 0, relativePath: relativePath, absolutePath: absolutePath)
      return try replaceParent(reference, image, tracking)
    default: throw otherFormat(parent)
    }
  }

  /// Whether `replaceParent` finds room for it in the file. Changes nothing. Waits.
  ///
  /// Errors: those of `replaceParent` that are not the host's.
  func checkParent(
    _ parent: Layer, relativePath: String, absolutePath: String
  ) throws(ImageError) {
    switch (self, parent) {
    case (.vhdx(let image), .vhdx(let parent)):
      try image.checkRoom(for: [try Layer.locator(image, naming: parent, relativePath, absolutePath)])
    // It finds room behind the blocks, and no path of this host is too long for it.
    case (.vhd, .vhd): break
    default: throw otherFormat(parent)
    }
  }

  /// What the file says of its parent now, with another in its place. Keys of other programs stay, and so does what says that
  /// an image was merged past this file; a second identity and a volume were the old parent's.
  private static func locator(
    _ image: VHDXImage, naming parent: VHDXImage, _ relativePath: String, _ absolutePath: String
  ) throws(ImageError) -> VHDX.ParentLocator {
    guard var locator = image.parentLocator else {
      throw ImageError(.notSupported, "\(escaped(image.file.path)): is not differencing, and has no parent")
    }
    locator.linkage = parent.dataWriteGUID
    locator.linkage2 = nil
    locator.relativePath = relativePath
    locator.volumePath = nil
    locator.absoluteWin32Path = VHDX.ParentLocator.windowsPath(ofHostPath: absolutePath)
    return locator
  }

  private func otherFormat(_ parent: Layer) -> ImageError {
    ImageError(
      .notSupported,
      "\(escaped(file.path)): is not of the format of \(escaped(parent.file.path)), which cannot be its parent"
    )
  }

  private func replaceParent(
    _ reference: VHDParent, _ image: VHDImage, _ tracking: DiskTracking
  ) throws(ImageError) -> Layer {
    // A VHD has no ids that a session renews.
    let unused = ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: .random())
    try tracking.beginWriting(self, as: unused)
    do throws(ImageError) {
      try image.replaceParent(reference)
    } catch {
      // Where it cannot be closed the record stays open, which is never wrong.
      try? tracking.finishWriting(self)
      throw error
    }
    let new = try Layer(file)
    try tracking.beginWriting(new, as: unused)
    try tracking.finishWriting(new)
    return new
  }
}
