import Storage

/// Giving a child another parent.
///
/// The dynamic header has no copy, and spans two sectors: written where it is, it could be torn, and the disk would be lost.
/// So it goes another way, and at every moment each good footer names a header that is whole, whose locators lead to whole
/// data. Invariants:
///
/// - Nothing that a footer names, in memory or on the medium, is overwritten: neither a header nor locators' data.
/// - A footer names a header only after that, and its locators' data, are durable.
/// - The two footers change one after the other, with a flush between and behind them: one of them is whole always.
///
/// The steps, each durable before the next begins:
///
/// 1. Behind all that the file holds, the old footer included: the new locators' data, the new header, and at the end of
///    the file the footer as it was.
/// 2. The copy of the footer, then the footer, name that header.
/// 3. Nothing names the old header now: the new one is written over it, and the locators' data over the old ones'
///    where the room there is enough. (Where it is not, they stay behind the blocks.)
/// 4. The copy, then the footer, name the header in its usual place. The clean close cuts off what lies behind.
///
/// Wherever this ends, the chain is whole, with the old parent or the new one. Two footers that name different headers are
/// made equal when writing begins the next time (`mendFooters`), and a header that was left behind is brought back then
/// (`bringHeaderHome`).
extension BlockStore {
  /// See `VHDImage.replaceParent`. In a session only; nobody else uses the image.
  func replaceParent(_ parent: VHDParent) throws(ImageError) {
    repeat { try commit() } while hasUncommittedChanges
    drain()
    try upkeep.withLock { (upkeep) throws(ImageError) in
      guard isWriting else {
        throw ImageError(
          .invalidState, "\(escaped(file.path)): is not being written, so its parent cannot be changed")
      }
      let scan = try TableScan(layout, state.withLock { $0.bounds }, file)
      let current = upkeep.headerOffset
      let draft = HeaderDraft(try header(at: current), naming: parent)
      // When these are written to, what is in force lies behind the old footer.
      var places = HeaderPlaces(
        layout, limit: min(scan.firstPlace, state.withLock { $0.room.footer }), inForce: [])
      let home = try places.usualHeader(insteadOf: current, file) ?? current
      let slots = HeaderDraft.locators(of: try header(at: home))

      let behind = try putBehind(draft, upkeep)
      do throws(ImageError) {
        try name(header: behind.header, &upkeep)
        try put(draft, at: home, slots, behind: behind.locators, &places)
        try name(header: home, &upkeep)
      } catch {
        refuse("a change of its parent failed in the middle", error)
        throw error
      }
      // What this object knows of the file's structures is of before.
      refuse("it was given another parent, and must be opened anew", nil)
    }
  }

  /// When writing begins: brings a header back that a change of the parent, which was cut off, left behind the blocks.
  /// Were it to stay there, the room in front of it could never be given back.
  ///
  /// It is known by the header that stands, whole or torn, in the usual place, where no footer names it.
  func bringHeaderHome(_ scan: TableScan, _ upkeep: inout Upkeep) throws(ImageError) {
    let current = upkeep.headerOffset
    var places = HeaderPlaces(
      layout, limit: min(scan.firstPlace, state.withLock { $0.room.footer }), inForce: layout.reserved)
    guard let home = try places.usualHeader(insteadOf: current, file),
      let draft = try HeaderDraft(moving: try header(at: current), file)
    else { return }
    let slots = HeaderDraft.locators(of: try header(at: home))
    let behind = HeaderDraft.locators(of: try header(at: current))
      .filter { $0.platform != .none }
      .map { HeaderDraft.Place(offset: $0.dataOffset, length: $0.spaceInBytes) }
    do throws(ImageError) {
      try put(draft, at: home, slots, behind: behind, &places)
      try name(header: home, &upkeep)
    } catch {
      refuse("its header could not be brought back to its usual place", error)
      throw error
    }
  }

  // MARK: - Steps

  /// Writes locators' data, header and footer behind everything, durably. Nothing names them but the new end of the file.
  private func putBehind(
    _ draft: HeaderDraft, _ upkeep: Upkeep
  ) throws(ImageError) -> (header: UInt64, locators: [HeaderDraft.Place]) {
    let (cursor, old) = state.withLock { ($0.room.cursor, $0.room.footer) }
    var end = max(cursor, old + BlockLayout.sector).roundedUp(to: BlockLayout.sector)
    var places: [HeaderDraft.Place] = []
    for locator in draft.locators {
      places.append(HeaderDraft.Place(offset: end, length: locator.roomLength))
      end += locator.roomLength
    }
    let header = end
    let footer = layout.footerPlace(after: header + UInt64(DynamicHeader.length))
    do throws(ImageError) {
      for (locator, place) in zip(draft.locators, places) {
        try write(draft.data(of: locator), at: place.offset)
      }
      try write(draft.bytes(places), at: header)
      try write(upkeep.footer, at: footer)
    } catch {
      // The end of the file is the old footer again; if not even that can be done, the copy at the beginning serves.
      try? file.resize(to: old + BlockLayout.sector)
      throw error
    }
    // Header and locators must be there before a footer names them; the footer at the new end before the copy, which serves
    // until then, is overwritten.
    try flush()
    state.withLock { state in
      state.room.footer = footer
      state.bounds.end = footer
    }
    return (header, places)
  }

  /// Lets the copy of the footer, then the footer, name a header, durably.
  private func name(header: UInt64, _ upkeep: inout Upkeep) throws(ImageError) {
    let footer = state.withLock { $0.room.footer }
    upkeep.footer.withUnsafeMutableBytes { bytes in
      bytes.storeBigEndian(header, at: Footer.dataOffsetField)
      Checksum.store(in: bytes, field: Footer.checksumField)
    }
    try write(upkeep.footer, at: 0)
    // One of the two is always whole: the copy must be, before the footer at the end is touched.
    try flush()
    try write(upkeep.footer, at: footer)
    // What this footer named before may be overwritten, or cut off, after this.
    try flush()
  }

  /// Writes the header to `home`, and its locators' data where other locators had theirs, durably; what has no room there
  /// stays `behind`.
  private func put(
    _ draft: HeaderDraft, at home: UInt64, _ slots: [ParentLocator], behind: [HeaderDraft.Place],
    _ places: inout HeaderPlaces
  ) throws(ImageError) {
    places.take(header: home)
    var chosen: [HeaderDraft.Place] = []
    for (locator, old) in zip(draft.locators, behind) {
      let place = places.take(roomOf: slots, for: locator)
      if let place { try write(draft.data(of: locator), at: place.offset) }
      chosen.append(place ?? old)
    }
    try write(draft.bytes(chosen), at: home)
    // Before a footer names it.
    try flush()
  }

  // MARK: - Bytes

  private func header(at offset: UInt64) throws(ImageError) -> [UInt8] {
    let buffer = ByteBuffer(count: DynamicHeader.length)
    try file.read(into: buffer.bytes, at: offset)
    return Array(buffer.readable)
  }

  private func write(_ bytes: [UInt8], at offset: UInt64) throws(ImageError) {
    let buffer = ByteBuffer(copying: bytes)
    try file.write(buffer.readable, at: offset)
  }

  /// Nothing more is written by this object; a failed flush has said so already.
  private func refuse(_ why: String, _ cause: ImageError?) {
    let reason = ImageError(
      cause?.returnValue ?? .invalidState, errno: cause?.errno,
      "\(escaped(file.path)): takes no more writes: \(why)", cause: cause)
    state.withLock { state in
      if case .refused = state.phase { return }
      state.phase = .refused(reason)
    }
  }
}
