import Storage
import Synchronization

/// A VHD file: fixed, dynamic or differencing. See `FormatImage` for the contract.
///
/// A range that the file does not say anything about reads as zero, in a differencing image as the parent
/// does. In a dynamic image a sector whose bit is clear was never written and reads as zero too, whatever
/// lies there.
public final class VHDImage: FormatImage {
  public let file: HostFile
  public let gate = OperationGate()
  /// The footer in force: the one at the end of the file, else the copy at its beginning.
  public let footer: Footer
  /// Of a dynamic or differencing image.
  public let header: DynamicHeader?
  /// Of a differencing image: what it records of its parent.
  public let parent: ParentReference?
  /// Bytes of the disk.
  public let virtualSize: UInt64
  /// Things that are doubtful but do not keep the image from being used, as sentences.
  public let warnings: [String]

  /// Nil in a fixed image, whose disk lies in the file as it is.
  let blocks: BlockStore?
  let search: FooterSearch
  /// How far writing has come in a fixed image.
  let fixedPhase = Mutex(BlockState.Phase.reading)

  public convenience init(_ file: HostFile) throws(ImageError) {
    try self.init(file, tablePages: Int(BlockTables.mostPages))
  }

  /// `tablePages`: how many pages of block table, and of bitmaps, are kept in memory; at least 4.
  package init(_ file: HostFile, tablePages: Int) throws(ImageError) {
    let search = try FooterSearch(file)
    let footer = search.footer
    self.file = file
    self.search = search
    self.footer = footer
    virtualSize = footer.diskSize
    warnings = VHDImage.warnings(search, file)
    guard footer.diskType.hasBlocks else {
      header = nil
      parent = nil
      blocks = nil
      return
    }
    let header = try VHDImage.readHeader(search, file)
    parent =
      footer.diskType == .differencing
      ? try ParentReference(header, file: file, fileSize: search.fileSize) : nil
    let layout = try BlockLayout(header, footer: footer, file: file, dataEnd: search.tailOffset)
    blocks = BlockStore(file, layout, search, gate, tablePages: tablePages)
    self.header = header
  }

  public var diskType: DiskType { footer.diskType }
  public var isDifferencing: Bool { footer.diskType == .differencing }
  public var isInSavedState: Bool { footer.isInSavedState }
  /// Bytes of disk that a block holds; nil in a fixed image.
  public var blockSize: UInt64? { header.map { UInt64($0.blockSize) } }

  public func locate(_ offset: UInt64, limit: UInt64, mayWait: Bool) throws(ImageError) -> Run {
    precondition(offset < virtualSize && limit > 0, "the caller keeps ranges inside the disk")
    guard let blocks else { return Run(.data, length: min(limit, virtualSize - offset), fileOffset: offset) }
    return try blocks.locate(offset, limit: limit, mayWait: mayWait)
  }

  private static func readHeader(_ search: FooterSearch, _ file: HostFile) throws(ImageError) -> DynamicHeader
  {
    let (offset, length) = (search.footer.dataOffset, UInt64(DynamicHeader.length))
    guard offset >= UInt64(Footer.length), offset % 512 == 0, offset <= search.tailOffset,
      length <= search.tailOffset - offset
    else {
      throw .damaged(
        file.path, at: search.tailOffset,
        "the footer puts the dynamic header at offset \(offset), where the file has none; it was cut or is "
          + "damaged"
      )
    }
    let buffer = ByteBuffer(count: DynamicHeader.length)
    try file.read(into: buffer.bytes, at: offset)
    guard let header = DynamicHeader(buffer.readable) else {
      throw .damaged(
        file.path, at: offset,
        "the dynamic header's cookie or checksum is wrong; the file is damaged, and has no copy")
    }
    // Versions 0.x of tapdisk wrote sector bitmaps with the bits in the other order; none are known to be
    // left.
    guard search.footer.creatorApplication != .tapdisk || search.footer.creatorVersion >> 16 >= 1 else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): was written by a tapdisk before 1.0, whose sector bitmaps are not understood")
    }
    return header
  }

  private static func warnings(_ search: FooterSearch, _ file: HostFile) -> [String] {
    var warnings: [String] = []
    let name = escaped(file.path)
    if search.tail == .lost {
      warnings.append("\(name): the footer at the end is missing; the copy at the beginning is used")
    }
    if search.footer.diskType.hasBlocks && !search.hasCopy {
      warnings.append("\(name): the footer's copy at the beginning is broken; the footer at the end is used")
    }
    switch search.copy {
    case .missing, .same: break
    case .otherHeader:
      warnings.append(
        "\(name): a change of its parent was cut off; the parent that the footer at the end leads to is believed"
      )
    case .otherDisk:
      warnings.append(
        "\(name): the footer and its copy speak of different disks; the footer at the end is believed")
    }
    return warnings
  }
}
