import ChangeTracking
import Storage

extension VirtualDisk {
  /// A disk over files that are open already, the leaf first. That each is the parent of the one before it is the
  /// caller's word: no identity is compared, and no lock is taken. `tablePages` bounds what is kept of each file's tables.
  package convenience init(
    files: [HostFile], tablePages: Int? = nil, tracking: GivenTracking? = nil
  ) throws(ImageError) {
    let directory = try ImageDirectory("/")
    var images: [SharedImage] = []
    for file in files {
      images.append(
        SharedImage(
          ImageReference(directory: directory, name: file.path), try Layer(file, tablePages: tablePages)))
    }
    guard let leaf = images.first else { throw ImageError(.invalidParameter, "a disk needs a file") }
    self.init(images, leaf: leaf, tracking: tracking?.tracking ?? DiskTracking(.none, .init()), wake: {})
  }

  /// Whether a flush would have tables to write.
  package var hasUncommittedChanges: Bool { leaf.hasUncommittedChanges }

  /// The same with the parents of another disk, which stay open: `parents` is the disk that the leaf's parent shows.
  package convenience init(
    leaf: HostFile, over parents: VirtualDisk?, tracking: GivenTracking? = nil
  ) throws(ImageError) {
    let reference = ImageReference(directory: try ImageDirectory("/"), name: leaf.path)
    let image = SharedImage(reference, try Layer(leaf))
    self.init(
      [image] + (parents?.images ?? []), leaf: image,
      tracking: tracking?.tracking ?? DiskTracking(.none, .init()), wake: {})
  }

  // What a library does by an image's name.
  package func makePoint(_ name: String) throws(ImageError) -> ReferencePoint {
    try tracking.makePoint(name, leaf)
  }
  package func dropPoint(_ name: String) throws(ImageError) { try tracking.dropPoint(name, leaf) }
  package func setTracking(_ change: TrackingChange) throws(ImageError) { try tracking.change(change, leaf) }
  package func trackingFacts() throws(ImageError) -> TrackingFacts { try tracking.facts(leaf) }

  /// A writing session has begun and was not closed.
  package var isWriting: Bool { leaf.isWriting }

  /// What is to be found in the leaf's structure.
  package func validateLeaf() throws(ImageError) -> ImageFindings {
    switch leaf {
    case .vhdx(let image): try image.validate()
    case .vhd(let image): try image.validate()
    case .raw: ImageFindings()
    }
  }
}

extension VirtualDisk {
  /// What `Maintenance` does for a disk that is being written, once: commits what waits, looks for free room, and takes
  /// back what blocks gave up.
  package func maintainOnce() throws(ImageError) {
    guard leaf.isWriting else { return }
    if leaf.hasUncommittedChanges { try leaf.commit() }
    try leaf.scanSpace()
    leaf.reclaimRoom()
    try tracking.clearQuietMarks(leaf)
  }
}

extension ChainMerge {
  /// A merge of files that are open already, leaf first, and their records, where they have some.
  package convenience init(files: [HostFile], into depth: Int, records: [GivenTracking?]) throws(ImageError) {
    let directory = try ImageDirectory("/")
    var images: [SharedImage] = []
    for file in files {
      images.append(SharedImage(ImageReference(directory: directory, name: file.path), try Layer(file)))
    }
    self.init(images, into: depth, trackings: records.map { $0?.tracking ?? DiskTracking(.none, .init()) })
  }
}

/// A tracking file that is open already, for a disk of such files.
package struct GivenTracking: Sendable {
  let tracking: DiskTracking

  /// - Parameters:
  ///   - file: an empty one is no tracking file.
  ///   - boot: which start of the machine this is said to be.
  package init(_ file: HostFile, boot: GUID, options: TrackingOptions = .init()) {
    tracking = DiskTracking(.given(file), options, boot: boot)
  }

  package init(_ slot: TrackingSlot, boot: GUID, options: TrackingOptions = .init()) {
    tracking = DiskTracking(.slot(slot), options, boot: boot)
  }
}
