import Storage

extension VHDXImage {
  /// Looks through the whole block table for room that no block has, and for blocks that share room. Waits long on
  /// large tables; new blocks go to the end of the file until it is done. For a thread in the background, once in a
  /// writing session.
  ///
  /// Errors: damaged, when two blocks share a place; then nothing more is written.
  public func scanSpace() throws(ImageError) {
    // Behind the end that the file had when it was opened this program has allocated since, and the table on the medium
    // may not say so yet.
    let place = tables.withLock { tables -> UInt64? in
      tables.isWriting && tables.overlay == nil && !tables.space.isAdopted ? tables.space.initialEnd : nil
    }
    guard let scannedEnd = place else { return }
    var used = SpaceUse(fileSize: scannedEnd)
    for range in structures { _ = used.add(range) }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var index: UInt64 = 0
    while index < geometry.entries {
      let count = min(UInt64(buffer.count / 8), geometry.entries - index)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(count * 8)])
      try file.read(into: part, at: regions.blockTable.offset + index * 8)
      for number in 0..<count {
        let entry = BlockTableEntry(rawValue: UnsafeRawBufferPointer(part).littleEndian(at: Int(number * 8)))
        // Entries that this session changed since may be read old or new: either way the place is not handed out,
        // because room that was given up becomes free only when its release is reclaimed.
        guard entry.rawValue != 0, entry.offset < scannedEnd else { continue }
        let isBitmap = geometry.isBitmap(index: index + number)
        let range = entry.offset..<(entry.offset + (isBitmap ? VHDX.mebibyte : blockSize))
        switch entry.state {
        case .fullyPresent, .partiallyPresent:
          guard used.add(range) else {
            throw refuse("two blocks share the place \(entry.offset)")
          }
        case .undefined, .unmapped: _ = used.add(range)
        default: break
        }
      }
      index += count
    }
    tables.withLock { $0.space.adopt(used: used) }
  }

  private func refuse(_ what: String) -> ImageError {
    let error = ImageError.damaged(
      file.path, at: regions.blockTable.offset,
      "\(what), so writing one would change the other; nothing more is written. Copy the disk to a new image")
    tables.withLock { if $0.failure == nil { $0.failure = error } }
    return error
  }
}
