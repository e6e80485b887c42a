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
      let locator = VHDX.ParentLocator(
        linkage: parent.dataWriteGUID, relativePath: relativePath,
        absoluteWin32Path: VHDX.ParentLocator.windowsPath(ofHostPath: absolutePath))
      try replaceParentLocator(locator, image, tracking)
      return try Layer(file)
    case (.vhd(let image), .vhd(let parent)):
      let reference = VHDParent(
        uniqueID: parent.footer.uniqueID,
        // Not said, as when a child is made: Windows refuses a parent whose time differs, and copying changes it.
        timeStamp: 0, relativePath: relativePath, absolutePath: absolutePath)
      return try replaceParent(reference, image, tracking)
    default:
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): is not of the format of \(escaped(parent.file.path)), which cannot be its parent"
      )
    }
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
