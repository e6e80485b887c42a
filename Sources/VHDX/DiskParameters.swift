import Storage

/// What the known metadata items say (2.6.2), checked.
struct DiskParameters {
  enum Item {
    /// CAA16737-FA36-4D43-B3B6-33F0AA44E76B: block size and flags.
    static let fileParameters = GUID(bytes: [
      0x37, 0x67, 0xA1, 0xCA, 0x36, 0xFA, 0x43, 0x4D, 0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B,
    ])
    /// 2FA54224-CD1B-4876-B211-5DBED83BF4B8.
    static let virtualDiskSize = GUID(bytes: [
      0x24, 0x42, 0xA5, 0x2F, 0x1B, 0xCD, 0x76, 0x48, 0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8,
    ])
    /// BECA12AB-B2E6-4523-93EF-C309E000C746: the "page 83" identity.
    static let virtualDiskID = GUID(bytes: [
      0xAB, 0x12, 0xCA, 0xBE, 0xE6, 0xB2, 0x23, 0x45, 0x93, 0xEF, 0xC3, 0x09, 0xE0, 0x00, 0xC7, 0x46,
    ])
    /// 8141BF1D-A96F-4709-BA47-F233A8FAAB5F.
    static let logicalSectorSize = GUID(bytes: [
      0x1D, 0xBF, 0x41, 0x81, 0x6F, 0xA9, 0x09, 0x47, 0xBA, 0x47, 0xF2, 0x33, 0xA8, 0xFA, 0xAB, 0x5F,
    ])
    /// CDA348C7-445D-4471-9CC9-E9885251C556.
    static let physicalSectorSize = GUID(bytes: [
      0xC7, 0x48, 0xA3, 0xCD, 0x5D, 0x44, 0x71, 0x44, 0x9C, 0xC9, 0xE9, 0x88, 0x52, 0x51, 0xC5, 0x56,
    ])
    /// A8D35F2D-B30B-454D-ABF7-D3D84834AB0C.
    static let parentLocator = GUID(bytes: [
      0x2D, 0x5F, 0xD3, 0xA8, 0x0B, 0xB3, 0x4D, 0x45, 0xAB, 0xF7, 0xD3, 0xD8, 0x48, 0x34, 0xAB, 0x0C,
    ])
    /// 71CC85F0-1B69-4E28-9558-C3BF83AE75D3: required while a file is being made; openvmm writes it.
    static let incompleteFile = GUID(bytes: [
      0xF0, 0x85, 0xCC, 0x71, 0x69, 0x1B, 0x28, 0x4E, 0x95, 0x58, 0xC3, 0xBF, 0x83, 0xAE, 0x75, 0xD3,
    ])

    static let known = [
      fileParameters, virtualDiskSize, virtualDiskID, logicalSectorSize, physicalSectorSize, parentLocator,
    ]
  }

  /// Bytes: a power of two from 1 MiB to 256 MiB (2.6.2.1).
  var blockSize: UInt64
  /// The disk was made fixed: blocks keep their room (2.6.2.1). Without meaning in a differencing file.
  var leaveBlocksAllocated: Bool
  /// Differencing (2.6.2.1).
  var hasParent: Bool
  /// Bytes: a multiple of the logical sector, at most 64 TiB (2.6.2.2).
  var virtualSize: UInt64
  /// 2.6.2.3.
  var virtualDiskID: GUID
  /// Bytes: 512 or 4096 (2.6.2.4).
  var logicalSectorSize: UInt32
  /// Bytes: 512 or 4096 (2.6.2.5).
  var physicalSectorSize: UInt32
  /// Where the parent is to be found, and who it must be (2.6.2.6).
  var parentLocator: ParentLocator?

  init(_ table: MetadataTable, file: String, region: RegionTable.Region) throws(ImageError) {
    for item in table.items where item.isRequired && !Item.known.contains(item.id) {
      if item.id == Item.incompleteFile {
        throw ImageError(
          .invalidState,
          "\(escaped(file)): was not finished when it was made; make it anew, or let its maker finish it")
      }
      throw ImageError(
        .notSupported,
        "\(escaped(file)): needs the unknown metadata item \(item.id); a newer program may read it")
    }

    func data(_ id: GUID, _ name: String, length: Int) throws(ImageError) -> [UInt8] {
      guard let item = table.item(id) else {
        throw .damaged(file, at: region.offset, "the metadata item \"\(name)\" is missing")
      }
      guard item.data.count == length else {
        throw .damaged(
          file, at: region.offset,
          "the metadata item \"\(name)\" has \(item.data.count) bytes instead of \(length)")
      }
      return item.data
    }
    func number<T: FixedWidthInteger>(_ bytes: [UInt8], at offset: Int, _ type: T.Type) -> T {
      bytes.withUnsafeBytes { $0.littleEndian(T.self, at: offset) }
    }

    let parameters = try data(Item.fileParameters, "file parameters", length: 8)
    blockSize = UInt64(number(parameters, at: 0, UInt32.self))
    let flags = number(parameters, at: 4, UInt32.self)
    leaveBlocksAllocated = flags & 1 != 0
    hasParent = flags & 2 != 0
    guard VHDXFormat.blockSizes.contains(blockSize), blockSize & (blockSize - 1) == 0 else {
      throw .damaged(
        file, at: region.offset,
        "the block size is \(blockSize); it must be a power of two from 1 MiB to 256 MiB")
    }
    logicalSectorSize = number(
      try data(Item.logicalSectorSize, "logical sector size", length: 4), at: 0, UInt32.self)
    guard logicalSectorSize == 512 || logicalSectorSize == 4096 else {
      throw .damaged(
        file, at: region.offset, "the logical sector size is \(logicalSectorSize); it must be 512 or 4096")
    }
    // Only advice to the guest, but a file whose advice is impossible was not written by a sound program.
    physicalSectorSize = number(
      try data(Item.physicalSectorSize, "physical sector size", length: 4), at: 0, UInt32.self)
    guard physicalSectorSize == 512 || physicalSectorSize == 4096 else {
      throw .damaged(
        file, at: region.offset, "the physical sector size is \(physicalSectorSize); it must be 512 or 4096")
    }
    virtualSize = number(try data(Item.virtualDiskSize, "virtual disk size", length: 8), at: 0, UInt64.self)
    guard virtualSize > 0, virtualSize <= VHDXFormat.maximumVirtualSize,
      virtualSize % UInt64(logicalSectorSize) == 0
    else {
      throw .damaged(
        file, at: region.offset,
        "the disk's size is \(virtualSize); it must be a multiple of the sector size, more than 0 and at most 64 TiB"
      )
    }
    let identity = try data(Item.virtualDiskID, "virtual disk id", length: 16)
    virtualDiskID = identity.withUnsafeBytes { GUID($0, at: 0) }
    if hasParent {
      guard let item = table.item(Item.parentLocator) else {
        throw .damaged(file, at: region.offset, "it has a parent, but the parent locator is missing")
      }
      parentLocator = try ParentLocator(item.data, file: file, at: region.offset)
    }
  }
}
