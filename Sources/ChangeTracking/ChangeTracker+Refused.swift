import Storage

extension ChangeTracker {
  /// Makes sure that a record which does not count now never counts again: the image is about to be changed without it.
  /// Durable when it returns.
  ///
  /// A VHDX, and a VHD that was closed, tell by themselves later that they were changed. A VHD that was not closed does
  /// not, and whoever mounts it as its sole writer would believe the record.
  ///
  /// Errors: the host's. The image must not be changed then.
  public static func disown(_ file: HostFile) throws(ImageError) {
    let contents: TrackingContents
    do throws(ImageError) {
      contents = try TrackingContents(file)
    } catch {
      // Damaged, or another program's: nothing in it counts here, and it is left alone.
      guard error.returnValue == .wrongDataType || error.returnValue == .notSupported else { throw error }
      return
    }
    var header = contents.header
    guard header.state == .open, !header.hasWriteIdentity else { return }
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: TrackingFormat.pageSize, alignment: 4096)
    defer { bytes.deallocate() }
    header.state = .invalid
    // Twice: were one of them lost, the other must not speak of a record that counts.
    for slot in [1 - contents.headerSlot, contents.headerSlot] {
      header.sequence += 1
      header.encode(into: bytes)
      try file.write(UnsafeRawBufferPointer(bytes), at: TrackingFormat.headerOffsets[slot])
      // The other is whole until here.
      try file.flush()
    }
  }
}
