import Storage

extension VirtualDisk {
  /// A disk over files that are open already, the leaf first. That each is the parent of the one before it is the
  /// caller's word: no identity is compared, and no lock is taken.
  package convenience init(files: [HostFile]) throws(ImageError) {
    let directory = try ImageDirectory("/")
    var images: [SharedImage] = []
    for file in files {
      images.append(SharedImage(ImageReference(directory: directory, name: file.path), try Layer(file)))
    }
    guard let leaf = images.first else { throw ImageError(.invalidParameter, "a disk needs a file") }
    self.init(images, leaf: leaf, wake: {})
  }

  /// Whether a flush would have tables to write.
  package var hasUncommittedChanges: Bool { leaf.hasUncommittedChanges }
}
