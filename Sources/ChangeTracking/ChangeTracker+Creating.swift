import Storage

extension ChangeTracker {
  /// Fills `file`, which is new and empty, with a new history: no points, nothing recorded. Durable when it returns.
  ///
  /// - Parameter session: the write ids that an image in use was given when its session began; nil for one that is
  ///   closed.
  /// - Parameter regionShift: the size of a region, as a power of two; nil: what fits the disk. For tests of small disks.
  public static func create(
    _ file: HostFile, for image: ImageState, boot: GUID, inSession: Bool, regionShift: UInt64? = nil
  ) throws(ImageError) {
    let history = GUID.random()
    var header = TrackingHeader(history: history, diskSize: image.diskSize)
    if let regionShift { header.regionShift = regionShift }
    header.state = inSession ? .open : .clean
    header.boot = boot
    header.identity = image.identity
    header.hasWriteIdentity = image.writes != nil
    header.before = image.writes ?? .none
    header.after = inSession ? header.before : .none
    header.fileSize = image.fileSize
    header.modified = image.modified
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: RegionMarks.slotSize, alignment: 4096)
    defer { bytes.deallocate() }
    var marks = RegionMarks(header)
    for offset in TrackingFormat.regionOffsets {
      marks.sequence += 1
      marks.encode(into: bytes, history: history)
      try file.write(UnsafeRawBufferPointer(bytes), at: offset)
    }
    let page = UnsafeMutableRawBufferPointer(rebasing: bytes[..<TrackingFormat.pageSize])
    for offset in TrackingFormat.headerOffsets {
      header.sequence += 1
      header.encode(into: page)
      try file.write(UnsafeRawBufferPointer(page), at: offset)
    }
    // Room is a number only, until blocks are written.
    try file.resize(to: TrackingFormat.fileSize(chunks: header.chunks))
    // Before it gets its name.
    try file.flush()
  }
}
