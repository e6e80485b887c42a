import Storage

/// Goes down a chain and finds whether an image was merged past one of its files whose content is not in the chain.
///
/// Such a file, and what stands on it, shows what was merged with its own older data over it.
struct MergedPastSearch {
  private var held: Set<GUID> = []

  /// Takes in the next file, the leaf first. Answers its mark, if what was merged past it is not there.
  mutating func next(_ file: RecordedParent?) -> MergeMark? {
    guard let file else { return nil }
    held.formUnion(file.mergeIDs)
    guard let mark = file.mergeMark else { return nil }
    if let id = mark.id, held.contains(id) { return nil }
    return mark
  }
}

extension SharedImage {
  /// Which image was merged past this file, if one was.
  var mergeMark: MergeMark? { layer.recordedParent?.mergeMark }

  /// The merges of which it holds the content.
  var mergeIDs: Set<GUID> { layer.recordedParent?.mergeIDs ?? [] }
}

extension VirtualDisk {
  /// The name of an image that was merged past the disk's image, or past one that it stands on, and whose content the chain
  /// lacks: see `ImageEntry.validOnlyBelow`.
  var validOnlyBelow: String? {
    var search = MergedPastSearch()
    for image in images {
      if let mark = search.next(image.layer.recordedParent) { return mark.name }
    }
    return nil
  }

  /// Errors: `.invalidState` where what the disk reads as is no state that it ever had, so that no changes can be told.
  func failIfMergedPast() throws(ImageError) {
    guard let source = validOnlyBelow else { return }
    throw ImageError(
      .invalidState,
      "\(escaped(paths[0])): \(escaped(source)) was merged past it, or past a file that it stands on, and it reads right only "
        + "as a part of that chain, so no changes of it can be told; take a full copy of \(escaped(source)) or of what it was "
        + "merged into")
  }
}

extension DiskLibrary {
  /// The name of an image that was merged past this one, or past one that it stands on, and whose content the chain lacks:
  /// only in the chain of that image this one is of use. Waits.
  ///
  /// - Parameter looksForIt: in all directories in which it may be, for the name that it has now; else the one that it had.
  func validOnlyBelow(_ reference: ImageReference, looksForIt: Bool) -> String? {
    var search = MergedPastSearch()
    var seen: Set<FileIdentity> = []
    var next: ImageReference? = reference
    while let image = next, let inspection = inspect(image), seen.insert(inspection.stamp.identity).inserted,
      seen.count <= ChainBuilder.maximumDepth
    {
      if let mark = search.next(inspection.recordedParent) {
        guard looksForIt, let id = mark.id else { return mark.name }
        return ChildSurvey(self, files: [reference]).carriers(of: id).first?.file.text ?? mark.name
      }
      next = parent(of: image, inspection)
    }
    return nil
  }
}
