import Storage

/// The arithmetic of a file with blocks, and where its structures lie. All lengths are bytes.
///
///     footer copy │ dynamic header │ block table │ locator data │ bitmap, data │ bitmap, data │ … │ footer
///
/// A table entry is a sector number (big-endian, 32 bits), all ones for "no block", of the block's bitmap;
/// its data follow at once. A bitmap has one bit a sector, the most significant first, and is filled up to
/// whole sectors.
struct BlockLayout: Sendable {
  static let sector: UInt64 = 512
  /// An entry that names no block.
  static let unallocated: UInt32 = .max
  /// Bytes that one page of the table cache holds.
  static let tablePage = 4096

  let virtualSize: UInt64
  let isDifferencing: Bool
  let blockShift: UInt64
  let bitmapLength: UInt64
  let tableOffset: UInt64
  /// Blocks that the disk needs; the table may have more entries.
  let blockCount: UInt64
  /// What no block may lie on: the footer's copy, the header, the table, the locators' data.
  let reserved: [FileExtent]
  /// The table, with the entries that no block needs, and what XenServer keeps behind it.
  let tables: [FileExtent]
  /// Where the first byte after all of them lies, the room kept for locators included: new blocks go behind
  /// it.
  let tablesEnd: UInt64

  var blockSize: UInt64 { 1 << blockShift }
  /// Bytes of bitmap that one page of the bitmap cache holds. Both lengths are powers of two.
  var bitmapPage: Int { Int(min(bitmapLength, 4096)) }
  /// Bytes of disk whose bits one page holds.
  var bitmapPageCoverage: UInt64 { UInt64(bitmapPage) * 8 * BlockLayout.sector }
  var tableEnd: UInt64 { tableOffset + blockCount * 4 }

  /// Bytes of disk in `block`: fewer than a block's in the last one.
  func diskLength(of block: UInt64) -> UInt64 { min(blockSize, virtualSize - (block << blockShift)) }

  /// The bytes of a bitmap with the bits of all of the block's sectors that the disk has set.
  func wholeBitmap(of block: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(bitmapLength))
    bytes.withUnsafeMutableBytes { _ = SectorBits(bytes: $0).set(0..<Int(diskLength(of: block) / 512)) }
    return bytes
  }

  /// What `block` takes in the file when its bitmap begins at `place`.
  func extent(of block: UInt64, at place: UInt64) -> FileExtent {
    FileExtent(offset: place, length: bitmapLength + diskLength(of: block))
  }

  /// Where data should begin, so that the host's direct I/O and its pages fit: 4096, where all blocks so
  /// placed stay within reach of 32-bit sector numbers; 512 for blocks so small that it would waste much.
  var dataAlignment: UInt64 {
    guard blockSize >= 65536 else { return BlockLayout.sector }
    let step = (bitmapLength + blockSize).roundedUp(to: 4096)
    let (total, overflow) = step.multipliedReportingOverflow(by: blockCount)
    return !overflow && total + tablesEnd.roundedUp(to: 4096) + 8192 <= BlockLayout.largestFile ? 4096 : 512
  }

  /// Bytes that 32-bit sector numbers reach.
  static let largestFile: UInt64 = UInt64(UInt32.max) * sector

  /// Bytes from one new block to the next.
  var step: UInt64 { (bitmapLength + blockSize).roundedUp(to: dataAlignment) }

  /// Where the bitmap of a new block begins that may not begin before `offset`.
  func place(from offset: UInt64) -> UInt64 {
    (offset + bitmapLength).roundedUp(to: dataAlignment) - bitmapLength
  }

  /// Where the footer goes behind blocks that end at `offset`: so that the file's length is aligned, as
  /// Windows 10 does it, and the next block's bitmap takes the footer's place.
  func footerPlace(after offset: UInt64) -> UInt64 {
    (offset + BlockLayout.sector).roundedUp(to: dataAlignment) - BlockLayout.sector
  }
}

extension BlockLayout {
  /// Checks what footer and header say against the file.
  ///
  /// - Parameter dataEnd: where the footer at the end begins, or the file ends if there is none.
  init(
    _ header: DynamicHeader, footer: Footer, file: HostFile, dataEnd: UInt64
  ) throws(ImageError) {
    let headerOffset = footer.dataOffset
    let blockSize = UInt64(header.blockSize)
    guard header.headerVersion >> 16 == 1 else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): dynamic header version \(header.headerVersion >> 16) is not known; only 1 is")
    }
    guard blockSize >= BlockLayout.sector, blockSize.nonzeroBitCount == 1 else {
      throw .damaged(
        file.path, at: headerOffset + 32,
        "block size \(blockSize) is not a power of two of at least 512 bytes; the dynamic header is damaged")
    }
    let size = footer.diskSize
    let blocks = size / blockSize + (size % blockSize == 0 ? 0 : 1)
    guard blocks <= UInt64(header.maxTableEntries) else {
      throw .damaged(
        file.path, at: headerOffset + 28,
        "a disk of \(size) bytes needs \(blocks) blocks, but the table has \(header.maxTableEntries) "
          + "entries; footer or dynamic header are damaged")
    }
    let tableLength = UInt64(header.maxTableEntries) * 4
    guard header.tableOffset % BlockLayout.sector == 0, header.tableOffset <= dataEnd,
      tableLength <= dataEnd - header.tableOffset
    else {
      throw .damaged(
        file.path, at: headerOffset + 16,
        "the block table (\(tableLength) bytes at offset \(header.tableOffset)) does not lie in the file "
          + "on whole sectors; the file was cut, or the dynamic header is damaged")
    }
    let fixedPlaces = [
      FileExtent(offset: 0, length: UInt64(Footer.length)),
      FileExtent(offset: headerOffset, length: UInt64(DynamicHeader.length)),
    ]
    let table = FileExtent(offset: header.tableOffset, length: tableLength)
    guard !fixedPlaces.contains(where: { $0.overlaps(table) }) else {
      throw .damaged(
        file.path, at: headerOffset + 16,
        "the block table at offset \(header.tableOffset) lies on the headers; the dynamic header is damaged")
    }
    let isDifferencing = footer.diskType == .differencing
    var places = fixedPlaces + [table]
    var end = max(table.end, headerOffset + UInt64(DynamicHeader.length))
    if isDifferencing {
      // Those that are understood were checked to lie in the file; the others are kept clear of where they
      // can be.
      for locator in header.locators
      where locator.platform != .none && locator.dataOffset < dataEnd
        && UInt64(locator.dataLength) <= dataEnd - locator.dataOffset
      {
        places.append(FileExtent(offset: locator.dataOffset, length: UInt64(locator.dataLength)))
        end = max(end, min(dataEnd, locator.dataOffset + locator.spaceInBytes))
      }
    }
    self.virtualSize = size
    self.isDifferencing = isDifferencing
    self.blockShift = UInt64(blockSize.trailingZeroBitCount)
    self.bitmapLength = max(1, blockSize / BlockLayout.sector / 8).roundedUp(to: BlockLayout.sector)
    self.tableOffset = header.tableOffset
    self.blockCount = blocks
    self.reserved = places
    let batmap = try BlockLayout.batmap(after: table.end, file: file, dataEnd: dataEnd)
    self.tables = [table] + batmap
    self.tablesEnd = batmap.reduce(end) { max($0, $1.end) }
  }

  /// XenServer keeps a "batmap" behind the table, which says of which blocks the bitmap is all ones; it
  /// stays right when new bits are not set in it. Returns where its header and it lie; nothing if there is none.
  private static func batmap(
    after tableEnd: UInt64, file: HostFile, dataEnd: UInt64
  ) throws(ImageError) -> [FileExtent] {
    let offset = tableEnd.roundedUp(to: sector)
    guard offset <= dataEnd, dataEnd - offset >= sector else { return [] }
    let buffer = ByteBuffer(count: Int(sector))
    try file.read(into: buffer.bytes, at: offset)
    let cookie: UInt64 = 0x7464_6261_746D_6170  // "tdbatmap"
    guard buffer.readable.bigEndian(UInt64.self, at: 0) == cookie else { return [] }
    let place: UInt64 = buffer.readable.bigEndian(at: 8)
    let length = UInt64(buffer.readable.bigEndian(UInt32.self, at: 16)) * sector
    let header = FileExtent(offset: offset, length: sector)
    guard place <= dataEnd, length <= dataEnd - place else { return [header] }
    return [header, FileExtent(offset: place, length: length)]
  }
}
