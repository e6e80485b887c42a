import Storage

/// What a library has open. Lives in its `open` lock; changed only by the holder of `opening`.
struct OpenFiles {
  /// Every open file, with the number of open disks in whose chain it stands.
  var images: [FileIdentity: (image: SharedImage, chains: Int)] = [:]
  /// Every open disk, by its leaf.
  var disks: [FileIdentity: OpenDisk] = [:]
  /// Files that an operation has to itself, with its name.
  var reserved: [FileIdentity: String] = [:]
}

/// A disk that somebody has open.
struct OpenDisk {
  let disk: VirtualDisk
  let leaf: SharedImage
  var readers = 0
  var writers = 0
}
