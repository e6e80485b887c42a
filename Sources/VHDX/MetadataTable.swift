import Storage

/// One item of the metadata region (2.6.1.2).
public struct MetadataItem: Sendable, Equatable {
  /// Which item it is; unique together with `isUser`.
  public var id: GUID
  /// Made by a user of the file rather than by the format.
  public var isUser: Bool
  /// Belongs to the disk, not to the file: goes along to a child and, at a merge, back to the parent.
  public var isVirtualDisk: Bool
  /// A reader that does not know the item must refuse the file.
  public var isRequired: Bool
  /// At most 1 MiB.
  public var data: [UInt8]
}

/// The metadata table (2.6.1) and the items behind it.
struct MetadataTable {
  static let tableSize = 64 << 10
  static let maximumEntries: UInt16 = 2047
  static let maximumItemLength: UInt32 = 1 << 20
  /// Ours: the items of one file together; the format sets no bound.
  static let maximumTotalLength = 40 << 20

  let items: [MetadataItem]
  /// Where each item's bytes lie, from the region's start; empty for one without bytes.
  let places: [Range<UInt64>]

  /// Decodes the region. `read` fills a buffer from a place in the region, log replayed.
  init(
    file: String, region: RegionTable.Region,
    read: (UnsafeMutableRawBufferPointer, UInt64) throws(ImageError) -> Void
  ) throws(ImageError) {
    let table = UnsafeMutableRawBufferPointer.allocate(byteCount: MetadataTable.tableSize, alignment: 8)
    defer { table.deallocate() }
    try read(table, region.offset)
    let bytes = UnsafeRawBufferPointer(table)
    guard bytes.littleEndian(UInt64.self, at: 0) == VHDXFormat.Signature.metadataTable else {
      throw .damaged(file, at: region.offset, "the metadata table has no signature")
    }
    let count = bytes.littleEndian(UInt16.self, at: 10)
    guard count <= MetadataTable.maximumEntries else {
      throw .damaged(file, at: region.offset, "the metadata table claims \(count) entries; 2047 are the most")
    }
    var items: [MetadataItem] = []
    var places: [Range<UInt64>] = []
    places.reserveCapacity(Int(count))
    var total = 0
    for index in 0..<Int(count) {
      let at = 32 + index * 32
      let id = GUID(bytes, at: at)
      let offset = UInt64(bytes.littleEndian(UInt32.self, at: at + 16))
      let length = bytes.littleEndian(UInt32.self, at: at + 20)
      let flags = bytes.littleEndian(UInt32.self, at: at + 24)
      let place = region.offset + UInt64(at)
      guard length <= MetadataTable.maximumItemLength, length > 0 || offset == 0 else {
        throw .damaged(file, at: place, "metadata item \(id) claims \(length) bytes; 1 MiB is the most")
      }
      if length > 0 {
        let range = offset..<(offset + UInt64(length))
        guard offset >= UInt64(MetadataTable.tableSize), range.upperBound <= region.length else {
          throw .damaged(file, at: place, "metadata item \(id) lies outside the metadata region")
        }
        guard !places.contains(where: { $0.overlaps(range) }) else {
          throw .damaged(file, at: place, "metadata item \(id) overlaps another")
        }
        places.append(range)
      } else {
        places.append(0..<0)
      }
      total += Int(length)
      guard total <= MetadataTable.maximumTotalLength else {
        throw .damaged(file, at: place, "the metadata items together are longer than 40 MiB")
      }
      let isUser = flags & 1 != 0
      guard !items.contains(where: { $0.id == id && $0.isUser == isUser }) else {
        throw .damaged(file, at: place, "metadata item \(id) stands in the table twice")
      }
      var data = [UInt8](repeating: 0, count: Int(length))
      if length > 0 {
        try readBytes(into: &data, at: region.offset + offset, read)
      }
      items.append(
        MetadataItem(
          id: id, isUser: isUser, isVirtualDisk: flags & 2 != 0, isRequired: flags & 4 != 0, data: data))
    }
    self.items = items
    self.places = places
  }

  /// The system item of that id.
  func item(_ id: GUID) -> MetadataItem? {
    items.first { $0.id == id && !$0.isUser }
  }

  /// Fills a buffer of the whole region (zeroed by this) with a table of `items` and the items back to back.
  static func encode(_ items: [MetadataItem], into bytes: UnsafeMutableRawBufferPointer) {
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    bytes.storeLittleEndian(VHDXFormat.Signature.metadataTable, at: 0)
    bytes.storeLittleEndian(UInt16(items.count), at: 10)
    var next = tableSize
    for (index, item) in items.enumerated() {
      encode(item, index, at: UInt64(next), into: bytes)
      UnsafeMutableRawBufferPointer(rebasing: bytes[next..<(next + item.data.count)]).copyBytes(
        from: item.data)
      next += item.data.count
    }
  }

  /// Stores the entry of item `index`, whose bytes lie at `place` of the region.
  static func encode(
    _ item: MetadataItem, _ index: Int, at place: UInt64, into bytes: UnsafeMutableRawBufferPointer
  ) {
    let at = 32 + index * 32
    bytes.store(item.id, at: at)
    bytes.storeLittleEndian(UInt32(item.data.isEmpty ? 0 : place), at: at + 16)
    bytes.storeLittleEndian(UInt32(item.data.count), at: at + 20)
    let flags: UInt32 = (item.isUser ? 1 : 0) | (item.isVirtualDisk ? 2 : 0) | (item.isRequired ? 4 : 0)
    bytes.storeLittleEndian(flags, at: at + 24)
  }
}

/// Reads into an array; a closure of the standard library's cannot pass a typed error on.
private func readBytes(
  into data: inout [UInt8], at offset: UInt64,
  _ read: (UnsafeMutableRawBufferPointer, UInt64) throws(ImageError) -> Void
) throws(ImageError) {
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: data.count, alignment: 8)
  defer { buffer.deallocate() }
  try read(buffer, offset)
  data.withUnsafeMutableBytes { $0.copyMemory(from: UnsafeRawBufferPointer(buffer)) }
}
