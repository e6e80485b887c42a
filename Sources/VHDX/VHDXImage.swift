import Storage
import Synchronization

/// An open VHDX file.
///
/// Lock order: `committer`, then `tables`. Neither is held while payload bytes move; `tables` is not held while a log
/// entry is written or flushed.
///
/// Invariants:
/// - The cache of `tables` is ahead of the file: a page in it is what the file will hold once committed and applied.
/// - A table speaks of payload bytes only when they are in the file (`completeWrite`), or when the room they will take
///   reads as what the disk showed before (fresh, zero room of a block that read as zero).
/// - Only the committer writes tables, the log and the headers.
public final class VHDXImage: FormatImage {
  public let file: HostFile
  public let gate = OperationGate()
  public let virtualSize: UInt64
  public let isDifferencing: Bool
  /// The block size in bytes; a power of two.
  public let blockSize: UInt64
  public let logicalSectorSize: UInt32
  public let physicalSectorSize: UInt32
  public let virtualDiskID: GUID
  /// Fixed: every block keeps its room in the file.
  public let isFixed: Bool
  /// Differencing only: the parent's identity and paths.
  public let parentLocator: ParentLocator?
  /// The program that made the file, as it says; for diagnosis only.
  public let creator: String
  /// All metadata items, for a child that is to be made.
  public let metadataItems: [MetadataItem]

  let geometry: BlockTableGeometry
  let blockShift: UInt64
  let sectorShift: UInt64
  let regions: RegionTable
  /// Which copy of the region table is damaged and will be mended when writing begins.
  let damagedRegionTable: Int?
  /// What no block may lie on.
  let structures: [Range<UInt64>]
  let structuresEnd: UInt64

  /// Tables up to this long are looked through before the first change; longer ones in the background.
  let quickTableLength: UInt64
  let tables: Mutex<Tables>
  let committer: Mutex<Committer>
  /// Counts the requests to make things durable; see `commit`.
  let commitRequests = Atomic<UInt64>(0)
  let commitsDone = Atomic<UInt64>(0)

  public convenience init(_ file: HostFile) throws(ImageError) {
    try self.init(file, tablePages: Tables.cachePages)
  }

  /// `tablePages`: how many pages of 4096 bytes of block table and bitmaps are kept in memory; at least 4. With fewer than
  /// usual no table counts as short (see `scanSpace`).
  ///
  /// `presentedSize`: the disk is shown with this size, whatever the metadata say; see `VHDXImage+Resizing`. Bytes, a
  /// multiple of the logical sector, at most 64 TiB, for which the block table has room.
  package init(
    _ file: HostFile, tablePages: Int = Tables.cachePages, presentedSize: UInt64? = nil
  ) throws(ImageError) {
    self.file = file
    let signature = UnsafeMutableRawBufferPointer.allocate(byteCount: 520, alignment: 8)
    defer { signature.deallocate() }
    let count = try file.readUpTo(signature, at: 0)
    guard count == 520,
      UnsafeRawBufferPointer(signature).littleEndian(UInt64.self, at: 0) == VHDXFormat.Signature.file
    else {
      throw .damaged(file.path, at: 0, "is no VHDX file: the signature \"vhdxfile\" is missing")
    }
    creator = VHDXImage.text(UnsafeRawBufferPointer(rebasing: signature[8..<520]))

    let current = try CurrentHeader(file)
    let header = current.header
    let fileSize = try file.size()
    let log = try VHDXImage.logRange(header, file)
    let overlay =
      try header.logGUID.isZero ? nil : VHDXImage.readLog(header, file, log: log, fileSize: fileSize)
    let wholeSize = max(fileSize, overlay?.lastFileOffset ?? 0)

    func read(_ buffer: UnsafeMutableRawBufferPointer, _ offset: UInt64) throws(ImageError) {
      if let overlay {
        try overlay.read(file, into: buffer, at: offset)
      } else {
        try file.read(into: buffer, at: offset)
      }
    }

    let table = UnsafeMutableRawBufferPointer.allocate(byteCount: VHDXFormat.regionTableSize, alignment: 4096)
    defer { table.deallocate() }
    var regions: RegionTable?
    var damaged: Int?
    for (copy, offset) in VHDXFormat.regionTableOffsets.enumerated() {
      try read(table, offset)
      guard RegionTable.isIntact(UnsafeRawBufferPointer(table)) else {
        damaged = copy
        continue
      }
      if regions == nil {
        regions = try RegionTable(UnsafeRawBufferPointer(table), file: file.path, at: offset, log: log)
      }
    }
    guard let regions else {
      throw .damaged(
        file.path, at: VHDXFormat.regionTableOffsets[0],
        "both region tables are damaged (signature or checksum)")
    }
    for region in [regions.blockTable, regions.metadata] where region.range.upperBound > wholeSize {
      throw .damaged(
        file.path, at: region.offset,
        "the file ends before a region of \(region.length) bytes does; it was cut")
    }
    let metadata = try MetadataTable(file: file.path, region: regions.metadata, read: read)
    let parameters = try DiskParameters(metadata, file: file.path, region: regions.metadata)
    let geometry = BlockTableGeometry(
      virtualSize: presentedSize ?? parameters.virtualSize, blockSize: parameters.blockSize,
      logicalSectorSize: UInt64(parameters.logicalSectorSize), isDifferencing: parameters.hasParent)
    guard geometry.entries * 8 <= regions.blockTable.length else {
      throw .damaged(
        file.path, at: regions.blockTable.offset,
        "the block table has room for \(regions.blockTable.length / 8) entries; the disk needs \(geometry.entries)"
      )
    }

    self.regions = regions
    damagedRegionTable = damaged
    structures = [0..<VHDXFormat.headerSectionSize, log] + regions.regions.map(\.range)
    structuresEnd = structures.map(\.upperBound).max() ?? 0
    self.geometry = geometry
    blockShift = UInt64(parameters.blockSize.trailingZeroBitCount)
    sectorShift = UInt64(parameters.logicalSectorSize.trailingZeroBitCount)
    virtualSize = geometry.virtualSize
    blockSize = parameters.blockSize
    isDifferencing = parameters.hasParent
    isFixed = parameters.leaveBlocksAllocated && !parameters.hasParent
    logicalSectorSize = parameters.logicalSectorSize
    physicalSectorSize = parameters.physicalSectorSize
    virtualDiskID = parameters.virtualDiskID
    parentLocator = parameters.parentLocator
    metadataItems = metadata.items
    tables = Mutex(
      Tables(overlay: overlay, fileSize: fileSize, header: header, cachePages: max(4, tablePages)))
    committer = Mutex(Committer(current: current))
    quickTableLength = tablePages < Tables.cachePages ? 0 : VHDXImage.quickTableLength
  }

  /// The log's place, checked as far as it matters: a file without a log to replay can be read whatever it says.
  private static func logRange(_ header: Header, _ file: HostFile) throws(ImageError) -> Range<UInt64> {
    let length = UInt64(header.logLength)
    let isPossible =
      header.logOffset >= VHDXFormat.headerSectionSize && header.logOffset % VHDXFormat.mebibyte == 0
      && length % VHDXFormat.mebibyte == 0 && header.logOffset <= VHDXFormat.maximumFileOffset
    guard isPossible, length > 0 || header.logGUID.isZero else {
      throw .damaged(
        file.path, at: VHDXFormat.headerOffsets[0],
        "the log is said to lie at \(header.logOffset) with \(length) bytes; both must be multiples of 1 MiB, behind the headers"
      )
    }
    return header.logOffset..<(header.logOffset + length)
  }

  private static func readLog(
    _ header: Header, _ file: HostFile, log: Range<UInt64>, fileSize: UInt64
  ) throws(ImageError) -> LogOverlay {
    guard header.logVersion == 0 else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): has changes in a log of version \(header.logVersion); only version 0 can be replayed"
      )
    }
    let length = UInt64(header.logLength)
    guard length <= VHDXFormat.maximumLogLength else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): has a log of \(length) bytes to replay; 256 MiB are the most that are read")
    }
    guard log.upperBound <= fileSize else {
      throw .damaged(file.path, at: log.lowerBound, "the file ends before its log does; it was cut")
    }
    let scanner = LogScanner(
      file: file, logOffset: log.lowerBound, logLength: length, logGUID: header.logGUID)
    let sequence = try scanner.activeSequence()
    if let head = sequence.last, head.header.flushedFileOffset > fileSize {
      // Windows 6.2 wrote 0 here in one entry, which never is greater.
      throw .damaged(
        file.path,
        "the log says that the file had \(head.header.flushedFileOffset) bytes, but it has \(fileSize); it was cut"
      )
    }
    return try LogOverlay(sequence, scanner: scanner, protecting: log)
  }

  /// UTF-16LE up to the first NUL; what is no proper text is replaced.
  private static func text(_ bytes: UnsafeRawBufferPointer) -> String {
    let units = (0..<(bytes.count / 2)).map { bytes.littleEndian(UInt16.self, at: $0 * 2) }
    return String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
  }

  /// The identity of the content now; what children must remember.
  public var dataWriteGUID: GUID { tables.withLock { $0.dataWriteGUID } }
  /// Both identities that the header has now: that of the file's bytes and that of the content (2.2.2).
  public var writeGUIDs: (file: GUID, data: GUID) { tables.withLock { ($0.fileWriteGUID, $0.dataWriteGUID) } }

  /// The log holds changes that are not in their places.
  public var logIsDirty: Bool { tables.withLock { $0.overlay != nil } }
}
