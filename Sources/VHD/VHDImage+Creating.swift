import Storage

extension VHDImage {
  /// Fills `file`, which is new and empty, with an image as `options` say. Durable when this returns; after
  /// an error the caller removes the file.
  ///
  /// Errors: `.invalidParameter` for sizes that the format does not know; the system's.
  public static func create(_ file: HostFile, _ options: VHDCreation) throws(ImageError) {
    let size = try checkedSize(file, options)
    let footer = footer(size, options)
    let bytes = ByteBuffer(count: Footer.length)
    footer.encode(into: bytes.bytes)
    switch options.kind {
    case .fixed(let reserve):
      if reserve { try file.reserve(at: 0, length: size) }
      try file.write(bytes.readable, at: size)
    case .dynamic:
      try writeTables(file, footer: bytes, NewLayout(size, options.blockSize, parent: nil))
    case .differencing(let parent):
      try writeTables(file, footer: bytes, NewLayout(size, options.blockSize, parent: parent))
    }
    // Whoever made the image relies on it from now on.
    try file.flush()
  }

  private static func checkedSize(_ file: HostFile, _ options: VHDCreation) throws(ImageError) -> UInt64 {
    let name = escaped(file.path)
    guard try file.size() == 0 else {
      throw ImageError(.invalidParameter, "\(name): is not empty; an image is made in a new file only")
    }
    var size = options.virtualSize
    guard size > 0, size <= VHDCreation.largestSize else {
      throw ImageError(
        .invalidParameter,
        "\(name): a VHD disk has 512 to \(VHDCreation.largestSize) bytes (2040 GiB), not \(size); a VHDX "
          + "can be larger"
      )
    }
    if options.roundsUpToMebibyte { size = size.roundedUp(to: 1 << 20) }
    guard size % 512 == 0 else {
      throw ImageError(
        .invalidParameter, "\(name): the size \(size) is not a number of whole sectors of 512 bytes")
    }
    let isAnyTaken =
      options.takesAnyBlockSize && options.blockSize >= 512 && options.blockSize.nonzeroBitCount == 1
    guard isAnyTaken || VHDCreation.blockSizes.contains(options.blockSize) else {
      throw ImageError(
        .invalidParameter, "\(name): a VHD has blocks of 524288 or 2097152 bytes, not of \(options.blockSize)"
      )
    }
    if case .differencing(let parent) = options.kind { try parent.check(for: file) }
    return size
  }

  /// The creator is given as Windows, because of what readers make of it: by four letters that they do not
  /// know, or those of Virtual PC or an early QEMU, some (QEMU 7.2 among them) take the disk's size from
  /// the geometry, which covers less than most sizes; for "win " all of them take the size that is
  /// recorded.
  private static func footer(_ size: UInt64, _ options: VHDCreation) -> Footer {
    var footer = Footer()
    footer.timeStamp = options.timeStamp
    footer.creatorApplication = .windows
    footer.creatorVersion = 0x000A_0000
    footer.creatorHost = .windowsHost
    footer.originalSize = size
    footer.currentSize = size
    footer.geometry = DiskGeometry(size: size)
    footer.uniqueID = options.uniqueID
    switch options.kind {
    case .fixed: footer.diskType = .fixed
    case .dynamic: footer.diskType = .dynamic
    case .differencing: footer.diskType = .differencing
    }
    if footer.diskType.hasBlocks { footer.dataOffset = NewLayout.headerOffset }
    return footer
  }

  private static func writeTables(
    _ file: HostFile, footer: borrowing ByteBuffer, _ layout: NewLayout
  ) throws(ImageError) {
    let header = ByteBuffer(count: DynamicHeader.length)
    layout.header.encode(into: header.bytes)
    try file.write(header.readable, at: NewLayout.headerOffset)
    let ones = ByteBuffer(count: 1 << 16)
    ones.bytes.initializeMemory(as: UInt8.self, repeating: 0xFF)
    var offset = layout.header.tableOffset
    while offset < layout.tableEnd {
      let count = Int(min(layout.tableEnd - offset, UInt64(ones.bytes.count)))
      try file.write(UnsafeRawBufferPointer(rebasing: ones.readable[..<count]), at: offset)
      offset += UInt64(count)
    }
    for (locator, path) in zip(layout.header.locators, layout.paths) {
      let bytes = ByteBuffer(copying: path)
      try file.write(bytes.readable, at: locator.dataOffset)
    }
    // Everything must be durable before a footer makes the file an image.
    try file.flush()
    try file.write(footer.readable, at: 0)
    // The copy must be durable before the footer at the end: that one can be lost, and the copy serves.
    try file.flush()
    try file.write(footer.readable, at: layout.footerOffset)
  }
}

/// Where the structures of a new file go: as Windows 10 does it, so that data begins at multiples of 4096.
///
///     0 footer copy │ 512 header │ 4096 absolute path │ 8192 table │ relative path │ footer
struct NewLayout {
  static let headerOffset: UInt64 = 512
  static let tableOffset: UInt64 = 8192

  private(set) var header = DynamicHeader()
  /// The locators' data, in their order.
  private(set) var paths: [[UInt8]] = []
  let tableEnd: UInt64
  let footerOffset: UInt64

  init(_ size: UInt64, _ blockSize: UInt32, parent: VHDParent?) {
    let blocks = (size + UInt64(blockSize) - 1) / UInt64(blockSize)
    header.tableOffset = NewLayout.tableOffset
    header.maxTableEntries = UInt32(blocks)
    header.blockSize = blockSize
    // Filled up with ones to a whole sector.
    tableEnd = (NewLayout.tableOffset + blocks * 4).roundedUp(to: 512)
    var end = tableEnd
    if let parent {
      header.parentUniqueID = parent.uniqueID
      header.parentTimeStamp = parent.timeStamp
      header.parentName = parent.recordedName
      end = end.roundedUp(to: 4096)
      let relative = parent.relativePathData
      let absolute = parent.absolutePathData
      var absoluteOffset: UInt64 = 4096
      var absoluteSpace: UInt64 = 4096
      if absolute.count > 4096 {
        (absoluteOffset, absoluteSpace) = (end, NewLayout.longSpace)
        end += NewLayout.longSpace
      }
      // Room for any path, so that the child can be given another parent where it stands. In bytes, as
      // Windows counts.
      header.locators = [
        ParentLocator(
          platform: .w2ku, dataSpace: UInt32(absoluteSpace), dataLength: UInt32(absolute.count),
          dataOffset: absoluteOffset),
        ParentLocator(
          platform: .w2ru, dataSpace: UInt32(NewLayout.longSpace), dataLength: UInt32(relative.count),
          dataOffset: end),
      ]
      paths = [absolute, relative]
      end += NewLayout.longSpace
    }
    footerOffset = (end + 512).roundedUp(to: 4096) - 512
  }

  static let longSpace: UInt64 = 65536
}
