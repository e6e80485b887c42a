import Storage

/// Giving the disk of a file another size.
///
/// What the metadata say changes at one moment, by one entry of the log. Before it grows, an object that presents the new
/// size (`init(_:tablePages:presentedSize:)`) makes what will be new read as zero; nobody sees that before. Entries behind
/// those that the disk's size needs are of no account, and are cleared before they get one.
///
///     grow:    this size: makeRoom(forSize:), close ─▶ presenting the new size: zero what is new, replaceMetadata
///     shrink:  this size: replaceMetadata, close ─▶ opened anew: clearEntries(from: the old size), close
extension VHDXImage {
  /// Gives the block table room for a disk of `size` bytes, with every new entry clear. Writing has begun, and nobody else
  /// changes the image. Durable when it returns. The file must be closed and opened anew then, for the table may have
  /// moved.
  public func makeRoom(forSize size: UInt64) throws(ImageError) {
    let wanted = BlockTableGeometry(
      virtualSize: size, blockSize: blockSize, logicalSectorSize: UInt64(logicalSectorSize),
      isDifferencing: isDifferencing)
    // The last block may be as short as the disk in the file; this makes it whole.
    try scanSpace()
    try clearEntries(to: min(wanted.entries, regions.blockTable.length / 8))
    guard wanted.entries * 8 > regions.blockTable.length else { return }
    try moveBlockTable(entries: wanted.entries)
  }

  /// Bytes by which the block table's move makes the file larger for a disk of `size` bytes; 0 where it stays where it is.
  /// Changes nothing.
  ///
  /// Errors: `.notSupported` when such a disk needs a longer table than a region can be.
  public func tableGrowth(forSize size: UInt64) throws(ImageError) -> UInt64 {
    let wanted = BlockTableGeometry(
      virtualSize: size, blockSize: blockSize, logicalSectorSize: UInt64(logicalSectorSize),
      isDifferencing: isDifferencing)
    guard wanted.entries * 8 > regions.blockTable.length else { return 0 }
    return try tableLength(entries: wanted.entries)
  }

  private func tableLength(entries: UInt64) throws(ImageError) -> UInt64 {
    let length = (entries * 8 + VHDXFormat.mebibyte - 1) / VHDXFormat.mebibyte * VHDXFormat.mebibyte
    guard length <= UInt64(UInt32.max) else {
      throw ImageError(
        .notSupported, "\(escaped(file.path)): the block table of such a disk is longer than a region can be")
    }
    return length
  }

  /// Clears the entries behind those of this disk, as far as a disk of `size` bytes has some. Durable when it returns.
  public func clearEntries(ofSize size: UInt64) throws(ImageError) {
    let other = BlockTableGeometry(
      virtualSize: size, blockSize: blockSize, logicalSectorSize: UInt64(logicalSectorSize),
      isDifferencing: isDifferencing)
    try clearEntries(to: min(other.entries, regions.blockTable.length / 8))
  }

  private func clearEntries(to end: UInt64) throws(ImageError) {
    guard geometry.entries < end else { return }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var index = geometry.entries
    while index < end {
      let count = min(UInt64(buffer.count / 8), end - index)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(count * 8)])
      // Only this program's entries of this disk are in memory, and none of them is among these.
      try file.read(into: part, at: regions.blockTable.offset + index * 8)
      if !UnsafeRawBufferPointer(part).isAllZero {
        part.initializeMemory(as: UInt8.self, repeating: 0)
        try putPages(UnsafeRawBufferPointer(part), at: regions.blockTable.offset + index * 8)
      }
      index += count
    }
    try commit()
  }

  /// Writes the table anew at the end of the file, with more room, and lets the region tables speak of it.
  private func moveBlockTable(entries: UInt64) throws(ImageError) {
    let length = try tableLength(entries: entries)
    try commit()
    let place = try tables.withLock { (tables) throws(ImageError) -> UInt64 in
      try tables.space.allocateAtEnd(length, file: file)
    }
    do throws(ImageError) {
      // Commits write into the table: on a full host this must fail, and not every later one.
      try file.reserve(at: place, length: length)
    } catch {
      tables.withLock { $0.space.giveBackEnd(length) }
      throw error
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var done: UInt64 = 0
    while done < geometry.entries * 8 {
      let count = min(UInt64(buffer.count), geometry.entries * 8 - done)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(count)])
      try readPages(into: part, at: regions.blockTable.offset + done)
      try file.write(UnsafeRawBufferPointer(part), at: place + done)
      done += count
    }
    var moved = regions.regions
    for index in moved.indices where moved[index].id == RegionTable.blockTableID {
      moved[index].offset = place
      moved[index].length = length
    }
    let table = UnsafeMutableRawBufferPointer.allocate(
      byteCount: VHDXFormat.regionTableSize, alignment: 4096)
    defer { table.deallocate() }
    RegionTable.encode(moved, into: table)
    // Both copies, in one entry: at most 32 pages, of which an entry holds 126. The commit flushes before it logs, so that
    // the new table is whole before the region tables speak of it.
    for offset in VHDXFormat.regionTableOffsets { try putPages(UnsafeRawBufferPointer(table), at: offset) }
    try commit()
  }

  /// Gives every block of a fixed disk from `offset` on that has none its room.
  public func allocateAll(from offset: UInt64) throws(ImageError) {
    var position = offset / blockSize * blockSize
    while position < virtualSize {
      let run = try prepareWrite(at: position, limit: 512, mayAllocate: true, mayWait: true)
      guard run.kind == .ready || run.kind == .tracked else {
        throw ImageError(.failed, "\(escaped(file.path)): no room could be given to the block at \(position)")
      }
      position += blockSize
    }
  }
}
