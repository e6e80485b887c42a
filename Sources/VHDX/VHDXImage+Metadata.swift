import Storage

/// Changing the metadata items of a file that is being written.
///
/// Every item that is new or other than before goes to a place of the region where nothing is; the table that speaks of
/// them follows in one entry of the log, so that all items change at once or none.
extension VHDXImage {
  /// The metadata items as they are in the file now, the log included. Waits.
  public func currentMetadata() throws(ImageError) -> [MetadataItem] { try readMetadata().items }

  /// Gives the file these metadata items in the place of those that it has. Writing has begun, and nobody else changes the
  /// image meanwhile. Durable when it returns; what this object says of itself stays as it was.
  ///
  /// Errors: `.notSupported` when the region has no room for them; the host's. Before the last step the old items count.
  public func replaceMetadata(_ items: [MetadataItem]) throws(ImageError) {
    let old = try readMetadata()
    let places = try placesForItems(items, old.items, old.places)
    for (index, item) in items.enumerated() where !old.holds(item, at: places[index]) {
      try put(item.data, at: regions.metadata.offset + places[index])
    }
    // The items must be whole before the table speaks of them; and the table must be alone in its entry.
    try commit()
    let table = UnsafeMutableRawBufferPointer.allocate(byteCount: MetadataTable.tableSize, alignment: 4096)
    defer { table.deallocate() }
    MetadataTable.encode([], into: table)
    table.storeLittleEndian(UInt16(items.count), at: 10)
    for (index, item) in items.enumerated() {
      MetadataTable.encode(item, index, at: places[index], into: table)
    }
    // At most 16 pages, of which an entry holds 126.
    try putPages(UnsafeRawBufferPointer(table), at: regions.metadata.offset)
    try commit()
  }

  /// Changes what the file says of its parent. As `replaceMetadata`; `.notSupported` also for a locator that is too long.
  public func replaceParentLocator(_ locator: ParentLocator) throws(ImageError) {
    try replaceMetadata(try metadata(try currentMetadata(), with: locator))
  }

  /// The items with another parent locator in the place of the one among them. Errors: `.notSupported`.
  public func metadata(
    _ items: [MetadataItem], with locator: ParentLocator
  ) throws(ImageError) -> [MetadataItem] {
    var items = items
    guard let index = items.firstIndex(where: { $0.id == DiskParameters.Item.parentLocator && !$0.isUser })
    else { throw ImageError(.notSupported, "\(escaped(file.path)): has no parent") }
    items[index].data = try locator.encode(file: file.path)
    return items
  }

  /// Whether `replaceMetadata` finds room for each of these, one after the other. Changes nothing. Waits.
  ///
  /// Errors: `.notSupported` when it does not.
  public func checkRoom(forMetadata steps: [[MetadataItem]]) throws(ImageError) {
    let old = try readMetadata()
    var (present, taken) = (old.items, old.places)
    for items in steps {
      let places = try placesForItems(items, present, taken)
      taken = zip(items, places).map { $1..<($1 + UInt64($0.data.count)) }
      present = items
    }
  }

  /// The items of another file's disk in the place of this one's: those that belong to the disk, its size among them,
  /// are `disk`'s, all others stay (2.6.1.2).
  public static func merge(disk: [MetadataItem], into file: [MetadataItem]) -> [MetadataItem] {
    let kept = file.filter { !$0.isVirtualDisk }
    return kept
      + disk.filter { item in
        item.isVirtualDisk && !kept.contains { $0.id == item.id && $0.isUser == item.isUser }
      }
  }

  private func readMetadata() throws(ImageError) -> MetadataTable {
    try MetadataTable(file: file.path, region: regions.metadata) {
      (buffer, offset) throws(ImageError) in
      try readPages(into: buffer, at: offset)
    }
  }

  /// Fills a buffer from tables, as they are in memory where they are.
  func readPages(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
    var done = 0
    while done < buffer.count {
      let position = offset + UInt64(done)
      let key = position & ~UInt64(VHDXFormat.pageSize - 1)
      let within = Int(position - key)
      let count = min(VHDXFormat.pageSize - within, buffer.count - done)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<(done + count)])
      _ = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> Void? in
        guard let page = try page(key, &tables, access) else { return nil }
        part.copyMemory(from: UnsafeRawBufferPointer(rebasing: page[within..<(within + count)]))
        return ()
      }
      done += count
    }
  }

  /// Changes bytes of tables, page by page; what is as it was stays clean.
  private func put(_ bytes: [UInt8], at offset: UInt64) throws(ImageError) {
    guard !bytes.isEmpty else { return }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    try putPages(UnsafeRawBufferPointer(buffer), at: offset)
  }

  func putPages(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
    var done = 0
    while done < bytes.count {
      let position = offset + UInt64(done)
      let key = position & ~UInt64(VHDXFormat.pageSize - 1)
      let within = Int(position - key)
      let count = min(VHDXFormat.pageSize - within, bytes.count - done)
      let part = UnsafeRawBufferPointer(rebasing: bytes[done..<(done + count)])
      _ = try withTables(mayWait: true) { (tables, access) throws(ImageError) -> Void? in
        guard try tables.canTakeChange() else { return nil }
        guard let page = try page(key, &tables, access) else { return nil }
        let target = UnsafeMutableRawBufferPointer(rebasing: page[within..<(within + count)])
        guard !target.elementsEqual(part) else { return () }
        target.copyMemory(from: part)
        tables.markDirty(key)
        return ()
      }
      done += count
    }
  }

  /// A place for each item: its own if it is there already as it is, else one where nothing is.
  private func placesForItems(
    _ items: [MetadataItem], _ present: [MetadataItem], _ presentPlaces: [Range<UInt64>]
  ) throws(ImageError) -> [UInt64] {
    guard items.count <= Int(MetadataTable.maximumEntries) else { throw noRoomForMetadata() }
    var taken = presentPlaces.filter { !$0.isEmpty }
    var places: [UInt64] = []
    for item in items {
      if let index = present.firstIndex(of: item) {
        places.append(presentPlaces[index].lowerBound)
        continue
      }
      let length = UInt64(item.data.count)
      var place = UInt64(MetadataTable.tableSize)
      for range in taken.sorted(by: { $0.lowerBound < $1.lowerBound }) {
        if place + length <= range.lowerBound { break }
        place = max(place, range.upperBound)
      }
      guard place + length <= regions.metadata.length, length <= UInt64(MetadataTable.maximumItemLength)
      else { throw noRoomForMetadata() }
      if length > 0 { taken.append(place..<(place + length)) }
      places.append(place)
    }
    return places
  }

  private func noRoomForMetadata() -> ImageError {
    ImageError(
      .notSupported,
      "\(escaped(file.path)): its metadata region of \(regions.metadata.length) bytes has no room for the items that it "
        + "is to get; convert it to a new image")
  }
}

extension MetadataTable {
  /// Whether the item lies at that place of the region already.
  fileprivate func holds(_ item: MetadataItem, at place: UInt64) -> Bool {
    items.firstIndex(of: item).map { places[$0].lowerBound == place } ?? false
  }
}
