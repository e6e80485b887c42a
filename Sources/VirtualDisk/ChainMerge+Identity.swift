import ChangeTracking
import Storage
import VHDX

/// What the destination's child says of it (VHDX 2.6.2.6.3, `parent_linkage2`), and of the merge (`MergeMark`).
extension ChainMerge {
  /// What is said before the destination changes. A VHD says nothing.
  struct Announcement {
    /// The destination's next DataWriteGuid.
    var identity: GUID
    var child: VHDX.ParentLocator
    /// The same as `child` where the source is the destination's child.
    var source: VHDX.ParentLocator
  }

  func announcement() throws(ImageError) -> Announcement? {
    guard case .vhdx(let parent) = destination, case .vhdx(let child) = child, case .vhdx(let source) = source
    else { return nil }
    guard let recorded = child.parentLocator, var sourceLocator = source.parentLocator else {
      throw ImageError(
        .notSupported, "\(escaped(child.file.path)): is not differencing, and cannot be merged")
    }
    let current = parent.dataWriteGUID
    var wanted = recorded
    wanted.linkage = current
    // A merge that was cut off before the destination changed announced an identity that can still be had.
    let announced = recorded.linkage == current ? recorded.linkage2 : nil
    let next = announced.flatMap { $0 == current ? nil : $0 } ?? .random()
    wanted.linkage2 = next

    var mark = MergeMark(
      id: .random(), name: images[0].reference.name, source: source.dataWriteGUID, own: child.dataWriteGUID,
      destination: next)
    let carried = MergeIDs.of(sourceLocator)
    // A merge that was cut off, of the same content: copies of the source that were made since are as good.
    if let old = MergeMark(recorded), let id = old.id, !old.isSettled, carried.contains(id),
      old.source == mark.source
    {
      mark.id = id
    }
    mark.store(in: &wanted)
    let known = Set(images.compactMap(\.mergeMark?.id))
    var ids = carried.intersection(known)
    if let id = mark.id { ids.insert(id) }
    if depth == 1 {
      MergeIDs.store(ids, in: &wanted)
      sourceLocator = wanted
    } else {
      MergeIDs.store(ids, in: &sourceLocator)
    }
    return Announcement(identity: next, child: wanted, source: sourceLocator)
  }

  /// Chooses the identity that the destination is to get, and tells its child, durably. A VHD has none that changes.
  func announce() throws(ImageError) -> ImageState.WriteIdentity {
    guard let told = try announcement() else {
      return ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: .random())
    }
    // The source first: a mark whose merge no file carries would make the source useless by its own word.
    if depth > 1 { try tell(told.source, level: 0) }
    try tell(told.child, level: depth - 1)
    locator = told.child
    return ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: told.identity)
  }

  /// From now on the child knows the destination by its new identity only.
  func settle(_ identity: ImageState.WriteIdentity) throws(ImageError) {
    guard var wanted = locator else { return }
    ChainMerge.settle(&wanted, identity.dataWriteGUID)
    try replaceLocator(wanted, level: depth - 1)
    locator = wanted
  }

  static func settle(_ locator: inout VHDX.ParentLocator, _ identity: GUID) {
    locator.linkage = identity
    locator.linkage2 = nil
  }

  /// The destination holds the content of other merges now, of which what it stands on tells; nil: of none.
  func inheritedLocator() -> VHDX.ParentLocator? {
    guard case .vhdx(let image) = images[depth].layer, var locator = image.parentLocator else { return nil }
    let below = Set(images[depth...].compactMap(\.mergeMark?.id))
    let above = images[..<depth].reduce(into: Set<GUID>()) { $0.formUnion($1.mergeIDs) }
    let own = MergeIDs.of(locator)
    let ids = own.union(above.intersection(below))
    guard ids != own else { return nil }
    MergeIDs.store(ids, in: &locator)
    return locator
  }

  /// Lets the destination say so. Its content is whole, and durable.
  func inherit() throws(ImageError) {
    guard let locator = inheritedLocator() else { return }
    try replaceLocator(locator, level: depth)
  }

  private func tell(_ wanted: VHDX.ParentLocator, level: Int) throws(ImageError) {
    guard case .vhdx(let image) = images[level].layer else { return }
    if wanted == image.parentLocator {
      // A program that was killed may have written it without a flush.
      try image.file.flush()
    } else {
      try replaceLocator(wanted, level: level)
    }
  }

  /// Changes a file's word of its parent. What it shows stays the same, and so does its DataWriteGuid, by which its
  /// children know it.
  private func replaceLocator(_ wanted: VHDX.ParentLocator, level: Int) throws(ImageError) {
    guard case .vhdx(let image) = images[level].layer else { return }
    try images[level].layer.replaceParentLocator(wanted, image, trackings[level])
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
