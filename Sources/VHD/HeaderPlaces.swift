import Storage

/// Where before the blocks a dynamic header, and its locators' data, may be written.
struct HeaderPlaces {
  /// What must not be overwritten, or has been given away.
  private var taken: [FileExtent]
  /// Where blocks begin, and the footer at the end, at the latest: whatever the file says of room behind that.
  private let limit: UInt64

  /// - Parameter inForce: what a footer names before the limit.
  init(_ layout: BlockLayout, limit: UInt64, inForce: [FileExtent]) {
    taken = [FileExtent(offset: 0, length: UInt64(Footer.length))] + layout.tables + inForce
    self.limit = limit
  }

  /// The place of a header by custom; nil where it stands there already, or the place is not known to have been a header's.
  func usualHeader(insteadOf current: UInt64, _ file: HostFile) throws(ImageError) -> UInt64? {
    let usual = FileExtent(offset: NewLayout.headerOffset, length: UInt64(DynamicHeader.length))
    guard current != usual.offset, usual.end <= limit, isFree(usual) else { return nil }
    let buffer = ByteBuffer(count: 8)
    try file.read(into: buffer.bytes, at: usual.offset)
    return buffer.readable.bigEndian(UInt64.self, at: 0) == DynamicHeader.cookie ? usual.offset : nil
  }

  mutating func take(header offset: UInt64) {
    taken.append(FileExtent(offset: offset, length: UInt64(DynamicHeader.length)))
  }

  /// Takes the room that another locator had for its data, one of its own kind first: Windows keeps more for the one than
  /// for the other. Nil where they fit into none.
  mutating func take(
    roomOf slots: [ParentLocator], for locator: HeaderDraft.Locator
  ) -> HeaderDraft.Place? {
    let kin = slots.filter { $0.platform == locator.platform }
    let others = slots.filter { $0.platform != locator.platform && $0.platform != .none }
    for slot in kin + others {
      guard let place = room(of: slot), place.end - place.offset >= locator.roomLength, isFree(place)
      else { continue }
      taken.append(place)
      return place
    }
    return nil
  }

  private func room(of slot: ParentLocator) -> HeaderDraft.Place? {
    guard slot.dataOffset % BlockLayout.sector == 0, slot.dataOffset < limit else { return nil }
    let length = min(slot.spaceInBytes, limit - slot.dataOffset)
    return HeaderDraft.Place(
      offset: slot.dataOffset, length: length / BlockLayout.sector * BlockLayout.sector)
  }

  private func isFree(_ extent: FileExtent) -> Bool { !taken.contains { $0.overlaps(extent) } }
}
