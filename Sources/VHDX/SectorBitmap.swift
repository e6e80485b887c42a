import Storage

/// The sector bitmaps of a differencing file (2.5.2): one bit per logical sector of a chunk, the lowest bit of byte 0
/// for its first sector; 1: this file has the sector, 0: the parent.
extension VHDXImage {
  /// Bits in one page of tables.
  private static let bitsPerPage = UInt64(VHDXFormat.pageSize * 8)

  /// The file offset of the bitmap block that describes `block`; nil when a page is missing.
  func bitmapBlock(
    for block: UInt64, _ tables: inout Tables, _ access: PageAccess
  ) throws(ImageError) -> UInt64? {
    let chunk = geometry.chunk(ofBlock: block)
    guard let entry = try entry(geometry.bitmapIndex(chunk: chunk), &tables, access) else { return nil }
    guard entry.state == .fullyPresent else {
      throw damagedEntry(
        "block \(block) is partly present, but the sector bitmap of chunk \(chunk) is not (state \(entry.state.rawValue))"
      )
    }
    try checkPlace(entry, length: VHDXFormat.mebibyte, what: "the sector bitmap of chunk \(chunk)")
    guard entry.offset + VHDXFormat.mebibyte <= tables.trustedEnd(geometry.bitmapIndex(chunk: chunk)) else {
      throw damagedEntry("the sector bitmap of chunk \(chunk) lies behind the end of the file, which was cut")
    }
    return entry.offset
  }

  /// The number of `sector` (of the disk) in its chunk.
  private func bit(_ sector: UInt64) -> UInt64 { sector & ((1 << 23) - 1) }

  /// Whether `sector` is in this file, and for how many sectors from there on the answer is the same: at least 1, at
  /// most `limit`, and not beyond a page of the bitmap.
  func bitRun(
    bitmapBlock: UInt64, sector: UInt64, limit: UInt64, _ tables: inout Tables, _ access: PageAccess
  ) throws(ImageError) -> (isSet: Bool, count: UInt64)? {
    let bit = bit(sector)
    let pageOffset = bitmapBlock + bit / VHDXImage.bitsPerPage * UInt64(VHDXFormat.pageSize)
    guard let page = try page(pageOffset, &tables, access) else { return nil }
    let bytes = UnsafeRawBufferPointer(page)
    var position = bit % VHDXImage.bitsPerPage
    let end = min(VHDXImage.bitsPerPage, position + limit)
    let start = position
    let isSet = bytes[Int(position / 8)] >> UInt8(position % 8) & 1 == 1
    // Whole words: what differs from the first bit shows as a 1.
    let flip: UInt64 = isSet ? ~0 : 0
    while position < end {
      let word = (bytes.littleEndian(UInt64.self, at: Int(position / 64 * 8)) ^ flip) >> (position % 64)
      if word != 0 {
        position += UInt64(word.trailingZeroBitCount)
        break
      }
      position += 64 - position % 64
    }
    return (isSet, min(position, end) - start)
  }

  /// Sets the bits of [sector, sector + count), all of one block; false when a page is missing (setting may begin
  /// anew: it is idempotent).
  func setBits(
    bitmapBlock: UInt64, sector: UInt64, count: UInt64, to value: Bool, _ tables: inout Tables,
    _ access: PageAccess
  ) throws(ImageError) -> Bool {
    var bit = bit(sector)
    let end = bit + count
    while bit < end {
      let pageOffset = bitmapBlock + bit / VHDXImage.bitsPerPage * UInt64(VHDXFormat.pageSize)
      guard let page = try page(pageOffset, &tables, access) else { return false }
      let pageEnd = min(end, (bit / VHDXImage.bitsPerPage + 1) * VHDXImage.bitsPerPage)
      let first = Int(bit % VHDXImage.bitsPerPage)
      if VHDXImage.fill(page, first..<(first + Int(pageEnd - bit)), value) { tables.markDirty(pageOffset) }
      bit = pageEnd
    }
    return true
  }

  /// Sets bits of a page; tells whether any changed, so that a page is not made dirty for nothing.
  private static func fill(_ page: UnsafeMutableRawBufferPointer, _ bits: Range<Int>, _ value: Bool) -> Bool {
    var changed = false
    var bit = bits.lowerBound
    while bit < bits.upperBound {
      let byte = bit / 8
      let from = bit % 8
      let to = min(8, from + bits.upperBound - bit)
      let mask = UInt8(truncatingIfNeeded: ((1 << to) - 1) & ~((1 << from) - 1))
      let old = page[byte]
      let new = value ? old | mask : old & ~mask
      if new != old {
        page[byte] = new
        changed = true
      }
      bit += to - from
    }
    return changed
  }
}
