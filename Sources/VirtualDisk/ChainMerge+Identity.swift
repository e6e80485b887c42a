import ChangeTracking
import Storage
import VHDX

/// What the destination's child says of it (VHDX 2.6.2.6.3, `parent_linkage2`).
extension ChainMerge {
  /// Chooses the identity that the destination is to get, and tells its child, durably. A VHD has none that changes.
  func announce() throws(ImageError) -> ImageState.WriteIdentity {
    guard case .vhdx(let parent) = destination, case .vhdx(let image) = child else {
      return ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: .random())
    }
    guard let recorded = image.parentLocator else {
      throw ImageError(
        .notSupported, "\(escaped(image.file.path)): is not differencing, and cannot be merged")
    }
    let current = parent.dataWriteGUID
    var wanted = recorded
    wanted.linkage = current
    // A merge that was cut off before the destination changed announced an identity that can still be had.
    let announced = recorded.linkage == current ? recorded.linkage2 : nil
    let next = announced.flatMap { $0 == current ? nil : $0 } ?? .random()
    wanted.linkage2 = next
    if depth > 1 { MergeSource(of: images[0]).store(in: &wanted) }
    if wanted == recorded {
      // A program that was killed may have written it without a flush.
      try image.file.flush()
    } else {
      try tellChild(wanted)
    }
    locator = wanted
    return ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: next)
  }

  /// From now on the child knows the destination by its new identity only.
  func settle(_ identity: ImageState.WriteIdentity) throws(ImageError) {
    guard var wanted = locator else { return }
    wanted.linkage = identity.dataWriteGUID
    wanted.linkage2 = nil
    try tellChild(wanted)
    locator = wanted
  }

  /// Changes the child's word of its parent. What it shows stays the same, and so does its DataWriteGuid, by which its own
  /// children know it.
  private func tellChild(_ wanted: VHDX.ParentLocator) throws(ImageError) {
    guard case .vhdx(let image) = child else { return }
    try images[depth - 1].layer.replaceParentLocator(wanted, image, trackings[depth - 1])
  }
}

extension Layer {
  /// Changes the word of a VHDX of its parent, durably; the file is closed then.
  func replaceParentLocator(
    _ locator: VHDX.ParentLocator, _ image: VHDXImage, _ tracking: DiskTracking
  ) throws(ImageError) {
    let same = ImageState.WriteIdentity(
      fileWriteGUID: .random(), dataWriteGUID: image.dataWriteGUID)
    try tracking.beginWriting(self, as: same)
    do throws(ImageError) {
      try image.replaceParentLocator(locator)
    } catch {
      try? tracking.finishWriting(self)
      throw error
    }
    try tracking.finishWriting(self)
  }
}

extension Layer {
  /// Which image was merged past this file, if one was.
  var mergeSource: MergeSource? {
    guard case .vhdx(let image) = self, let locator = image.parentLocator else { return nil }
    return MergeSource(locator)
  }
}

/// Of which image the content was merged past a file: that file, and those between the two, are of use only below it.
///
/// It stands in the parent locator of the destination's child, beside the keys that the format defines, which other
/// readers pass over.
struct MergeSource: Equatable, Sendable {
  private static let nameKey = "vhdfs_merge_source"
  private static let identityKey = "vhdfs_merge_source_linkage"

  /// The file's name.
  var name: String
  /// Its DataWriteGuid at that time.
  var identity: GUID?

  init(of image: SharedImage) {
    name = image.reference.name
    identity = image.layer.identifierForChildren
  }

  init?(_ locator: VHDX.ParentLocator) {
    guard let name = locator.otherValues[MergeSource.nameKey] else { return nil }
    self.name = name
    identity = locator.otherValues[MergeSource.identityKey].flatMap { GUID($0) }
  }

  func store(in locator: inout VHDX.ParentLocator) {
    locator.otherValues[MergeSource.nameKey] = name
    locator.otherValues[MergeSource.identityKey] = identity.map { "{\($0)}" }
  }
}
