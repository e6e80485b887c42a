import Storage

/// What a new VHDX file is to be.
public struct VHDXCreation: Sendable {
  public enum Kind: Sendable {
    /// Every block has its room from the start; with `reserve` the host sets it aside too.
    case fixed(reserve: Bool)
    case dynamic
    /// Shows what `parent` shows until it is written. `inherited`: the parent's items that go along.
    case differencing(parent: ParentLocator, inherited: [MetadataItem])
  }

  public var kind: Kind
  /// Bytes: a multiple of the logical sector, at most 64 TiB.
  public var virtualSize: UInt64
  /// Bytes: a power of two from 1 MiB to 256 MiB. 32 MiB is what Hyper-V takes, 2 MiB for children.
  public var blockSize: UInt64
  /// 512 or 4096.
  public var logicalSectorSize: UInt32
  /// 512 or 4096.
  public var physicalSectorSize: UInt32
  /// The same along a chain; nil: a new one.
  public var virtualDiskID: GUID?

  public init(
    kind: Kind, virtualSize: UInt64, blockSize: UInt64 = 32 << 20, logicalSectorSize: UInt32 = 512,
    physicalSectorSize: UInt32 = 4096, virtualDiskID: GUID? = nil
  ) {
    self.kind = kind
    self.virtualSize = virtualSize
    self.blockSize = blockSize
    self.logicalSectorSize = logicalSectorSize
    self.physicalSectorSize = physicalSectorSize
    self.virtualDiskID = virtualDiskID
  }
}

extension VHDXImage {
  /// Makes an empty image in `file`, which must be empty. Durable when this returns; after an error the caller
  /// removes the file.
  ///
  /// Errors: `.invalidParameter` for sizes that the format does not know; the system's.
  public static func create(_ file: HostFile, _ options: VHDXCreation) throws(ImageError) {
    try check(options, file.path)
    var isDifferencing = false
    var isFixed = false
    var reserves = false
    switch options.kind {
    case .fixed(let reserve): (isFixed, reserves) = (true, reserve)
    case .dynamic: break
    case .differencing: isDifferencing = true
    }
    let geometry = BlockTableGeometry(
      virtualSize: options.virtualSize, blockSize: options.blockSize,
      logicalSectorSize: UInt64(options.logicalSectorSize), isDifferencing: isDifferencing)
    // The places that Windows chooses: log, metadata, block table, one after the other from 1 MiB on.
    let log = (offset: VHDXFormat.mebibyte, length: VHDXFormat.mebibyte)
    let metadata = RegionTable.Region(
      id: RegionTable.metadataID, offset: 2 * VHDXFormat.mebibyte, length: VHDXFormat.mebibyte,
      isRequired: true)
    let tableLength =
      (geometry.entries * 8 + VHDXFormat.mebibyte - 1) / VHDXFormat.mebibyte * VHDXFormat.mebibyte
    let table = RegionTable.Region(
      id: RegionTable.blockTableID, offset: 3 * VHDXFormat.mebibyte, length: tableLength, isRequired: true)
    let payload = table.offset + table.length
    let end = isFixed ? payload + geometry.payloadBlocks * options.blockSize : payload

    try file.resize(to: end)
    // The tables get their room now: a full host must not show when a log entry has been promised already.
    try file.reserve(at: 0, length: reserves ? end : payload)

    try writeMetadata(options, isDifferencing: isDifferencing, isFixed: isFixed, region: metadata, file)
    if isFixed { try writeFixedTable(geometry, table: table, payload: payload, file) }
    try writeRegionTables([table, metadata], file)
    try writeFileType(file)
    // Everything must be durable before a valid header makes the file an image.
    try file.flush()
    try writeHeaders(log, file)
    // The caller gives the file its name next, and a name must stand for a whole image.
    try file.flush()
  }

  private static func check(_ options: VHDXCreation, _ path: String) throws(ImageError) {
    guard VHDXFormat.blockSizes.contains(options.blockSize), options.blockSize & (options.blockSize - 1) == 0
    else {
      throw ImageError(
        .invalidParameter,
        "\(escaped(path)): a block of \(options.blockSize) bytes is not possible; "
          + "take a power of two from 1 MiB to 256 MiB")
    }
    for size in [options.logicalSectorSize, options.physicalSectorSize] where size != 512 && size != 4096 {
      throw ImageError(
        .invalidParameter, "\(escaped(path)): a sector of \(size) bytes is not possible; take 512 or 4096")
    }
    guard options.virtualSize > 0, options.virtualSize <= VHDXFormat.maximumVirtualSize,
      options.virtualSize % UInt64(options.logicalSectorSize) == 0
    else {
      throw ImageError(
        .invalidParameter,
        "\(escaped(path)): a disk of \(options.virtualSize) bytes is not possible; "
          + "take a multiple of \(options.logicalSectorSize), at most 64 TiB")
    }
    if case .differencing(let parent, _) = options.kind {
      let paths = [parent.relativePath, parent.volumePath, parent.absoluteWin32Path].compactMap { $0 }
      guard !paths.isEmpty, paths.allSatisfy({ $0.utf16.count < 32_000 }) else {
        throw ImageError(
          .invalidParameter, "\(escaped(path)): the parent needs a path of fewer than 32,000 characters")
      }
    }
  }

  private static func writeMetadata(
    _ options: VHDXCreation, isDifferencing: Bool, isFixed: Bool, region: RegionTable.Region, _ file: HostFile
  ) throws(ImageError) {
    func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
      withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    func item(_ id: GUID, disk: Bool, _ data: [UInt8]) -> MetadataItem {
      MetadataItem(id: id, isUser: false, isVirtualDisk: disk, isRequired: true, data: data)
    }
    let flags: UInt32 = (isFixed ? 1 : 0) | (isDifferencing ? 2 : 0)
    let identity = options.virtualDiskID ?? .random()
    var items = [
      item(DiskParameters.Item.fileParameters, disk: false, bytes(UInt32(options.blockSize)) + bytes(flags)),
      item(DiskParameters.Item.virtualDiskSize, disk: true, bytes(options.virtualSize)),
      item(DiskParameters.Item.logicalSectorSize, disk: true, bytes(options.logicalSectorSize)),
      item(DiskParameters.Item.physicalSectorSize, disk: true, bytes(options.physicalSectorSize)),
      item(DiskParameters.Item.virtualDiskID, disk: true, withUnsafeBytes(of: identity.bytes) { Array($0) }),
    ]
    if case .differencing(let parent, let inherited) = options.kind {
      items.append(item(DiskParameters.Item.parentLocator, disk: false, try parent.encode(file: file.path)))
      // What belongs to the disk goes along to its child (2.6.1.2); the known ones were written above.
      items += inherited.filter {
        $0.isVirtualDisk && ($0.isUser || !DiskParameters.Item.known.contains($0.id))
      }
    }
    let total = MetadataTable.tableSize + items.reduce(0) { $0 + $1.data.count }
    guard UInt64(total) <= region.length else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): the parent has \(total) bytes of metadata; 1 MiB is the most that a child takes over"
      )
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(region.length), alignment: 4096)
    defer { buffer.deallocate() }
    MetadataTable.encode(items, into: buffer)
    try file.write(UnsafeRawBufferPointer(buffer), at: region.offset)
  }

  private static func writeFixedTable(
    _ geometry: BlockTableGeometry, table: RegionTable.Region, payload: UInt64, _ file: HostFile
  ) throws(ImageError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    let perBuffer = UInt64(buffer.count / 8)
    var block: UInt64 = 0
    for start in stride(from: 0, to: geometry.entries, by: Int(perBuffer)) {
      let count = min(perBuffer, geometry.entries - start)
      for number in 0..<count {
        var entry = BlockTableEntry(rawValue: 0)
        if !geometry.isBitmap(index: start + number) {
          entry = BlockTableEntry(.fullyPresent, offset: payload + block * geometry.blockSize)
          block += 1
        }
        buffer.storeLittleEndian(entry.rawValue, at: Int(number * 8))
      }
      try file.write(
        UnsafeRawBufferPointer(rebasing: buffer[..<Int(count * 8)]), at: table.offset + start * 8)
    }
  }

  private static func writeRegionTables(_ regions: [RegionTable.Region], _ file: HostFile) throws(ImageError)
  {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: VHDXFormat.regionTableSize, alignment: 4096)
    defer { buffer.deallocate() }
    RegionTable.encode(regions, into: buffer)
    for offset in VHDXFormat.regionTableOffsets { try file.write(UnsafeRawBufferPointer(buffer), at: offset) }
  }

  private static func writeFileType(_ file: HostFile) throws(ImageError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 520, alignment: 8)
    defer { buffer.deallocate() }
    buffer.initializeMemory(as: UInt8.self, repeating: 0)
    buffer.storeLittleEndian(VHDXFormat.Signature.file, at: 0)
    for (index, unit) in "vhdfs".utf16.enumerated() { buffer.storeLittleEndian(unit, at: 8 + index * 2) }
    try file.write(UnsafeRawBufferPointer(buffer), at: 0)
  }

  private static func writeHeaders(_ log: (offset: UInt64, length: UInt64), _ file: HostFile)
    throws(ImageError)
  {
    var header = Header(
      fileWriteGUID: .random(), dataWriteGUID: .random(), logLength: UInt32(log.length), logOffset: log.offset
    )
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Header.size, alignment: 4096)
    defer { buffer.deallocate() }
    for offset in VHDXFormat.headerOffsets {
      header.encode(into: buffer)
      try file.write(UnsafeRawBufferPointer(buffer), at: offset)
      header.sequenceNumber += 1
    }
  }
}
