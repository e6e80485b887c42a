import Storage

/// Goes down a chain and finds whether an image was merged past one of its files that stands in the chain no more.
///
/// Such a file, and what stands on it, shows what was merged with its own older data over it.
struct MergedPast {
  private var above: [(name: String, identifier: GUID?)] = []

  /// Takes in the next file, the leaf first. Answers the name of the image that was merged past it; nil: none was, or it
  /// stands above.
  mutating func next(_ name: String, identifier: GUID?, _ source: MergeSource?) -> String? {
    above.append((name, identifier))
    guard let source,
      !above.contains(where: { $0.name.isExactly(source.name) || $0.identifier == source.identity })
    else { return nil }
    return source.name
  }
}

extension VirtualDisk {
  /// The name of an image that was merged past the disk's image, or past one that it stands on, and in whose chain it does
  /// not stand itself: see `ImageEntry.validOnlyBelow`.
  var validOnlyBelow: String? {
    var chain = MergedPast()
    for image in images {
      let found = chain.next(
        image.reference.name, identifier: image.layer.identifierForChildren, image.layer.mergeSource)
      if let found { return found }
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
