import Storage

@testable import VHDX

extension FuzzTarget {
  /// The two headers.
  static let vhdxHeaders = FuzzTarget(
    name: "vhdx-headers", subject: "VHDX: the two headers, which one counts, and its update",
    maximumLength: 4096,
    run: { input in
      let image = SparseImage(decoding: input)
      let file = HostFile(path: "headers", double: FuzzFile(image))
      let found = VHDXFormat.headerOffsets.map { place -> Header? in
        guard place + UInt64(Header.size) <= image.size else { return nil }
        return image.bytes(at: place, count: Header.size).withUnsafeBytes { Header($0) }
      }
      for header in found.compactMap({ $0 }) {
        var bytes = [UInt8](repeating: 0, count: Header.size)
        bytes.withUnsafeMutableBytes { header.encode(into: $0) }
        try require(
          bytes.withUnsafeBytes { Header($0) } == header, "a header does not survive being written and read")
      }
      guard var current = answer({ () throws(ImageError) in try CurrentHeader(file) }) else { return }
      let numbers = found.compactMap { $0?.sequenceNumber }
      try require(current.header == found[current.slot], "the header is not the one of its slot")
      try require(current.header.sequenceNumber == numbers.max(), "an older header is taken")
      let old = current.header
      let flush = { () throws(ImageError) in try file.flush() }
      guard
        answer({ () throws(ImageError) in try current.update(file, flush: flush) { $0.fileWriteGUID = .zero }
        }) != nil
      else { return }
      guard let again = answer({ () throws(ImageError) in try CurrentHeader(file) }) else {
        throw BrokenPromise(description: "after an update no header can be read")
      }
      try require(
        again.header == current.header && again.slot == current.slot, "the update is not what is read")
      try require(again.header.sequenceNumber == old.sequenceNumber + 1, "the update has not the next number")
    },
    form: .file([.vhdxHeaders]))

  /// The region table.
  static let vhdxRegions = FuzzTarget(
    name: "vhdx-regions", subject: "VHDX: region table", maximumLength: 8192,
    run: { input in
      let image = SparseImage(decoding: input)
      let log = (1 << 20)..<(UInt64(image.operations.count + 2) << 20)
      for offset in VHDXFormat.regionTableOffsets {
        let bytes = image.bytes(at: offset, count: VHDXFormat.regionTableSize)
        guard bytes.withUnsafeBytes({ RegionTable.isIntact($0) }) else { continue }
        guard let table = decoded(bytes, log) else { continue }
        let ranges = table.regions.map(\.range)
        for (index, range) in ranges.enumerated() {
          try require(
            range.lowerBound >= 1 << 20 && !range.isEmpty && !range.overlaps(log), "a region at \(range)")
          try require(!ranges[(index + 1)...].contains { $0.overlaps(range) }, "regions overlap at \(range)")
        }
        try require(
          table.blockTable.id == RegionTable.blockTableID, "another region is taken for the block table")
        var again = [UInt8](repeating: 0, count: VHDXFormat.regionTableSize)
        again.withUnsafeMutableBytes { RegionTable.encode(table.regions, into: $0) }
        try require(
          again.withUnsafeBytes { RegionTable.isIntact($0) }, "a region table that was written is not intact")
        try require(
          decoded(again, log)?.regions == table.regions,
          "a region table does not survive being written and read")
      }
    },
    form: .file([.vhdxRegions]))

  private static func decoded(_ bytes: [UInt8], _ log: Range<UInt64>) -> RegionTable? {
    bytes.withUnsafeBytes { bytes in
      answer { () throws(ImageError) in try RegionTable(bytes, file: "regions", at: 0, log: log) }
    }
  }

  /// The metadata region.
  static let vhdxMetadata = FuzzTarget(
    name: "vhdx-metadata", subject: "VHDX: metadata table, its items, the disk's parameters",
    maximumLength: 8192,
    run: { input in
      let image = SparseImage(decoding: input)
      let place = image.regionPlace(SparseImage.metadataID) ?? 2 << 20
      let region = RegionTable.Region(
        id: RegionTable.metadataID, offset: place, length: 1 << 20, isRequired: true)
      guard let table = metadata(region, { image.copy(into: $0, from: $1) }) else { return }
      try require(table.items.allSatisfy { $0.data.count <= 1 << 20 }, "an item of more than 1 MiB")
      if MetadataTable.tableSize + table.items.reduce(0, { $0 + $1.data.count }) <= 1 << 20 {
        var again = [UInt8](repeating: 0, count: 1 << 20)
        again.withUnsafeMutableBytes { MetadataTable.encode(table.items, into: $0) }
        let second = metadata(region) { buffer, offset in
          again.withUnsafeBytes {
            let start = Int(offset - place)
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<(start + buffer.count)]))
          }
        }
        try require(second?.items == table.items, "metadata do not survive being written and read")
      }
      guard
        let disk = answer({ () throws(ImageError) in
          try DiskParameters(table, file: "metadata", region: region)
        })
      else { return }
      try check(
        BlockTableGeometry(
          virtualSize: disk.virtualSize, blockSize: disk.blockSize,
          logicalSectorSize: UInt64(disk.logicalSectorSize), isDifferencing: disk.hasParent))
    },
    form: .file([.vhdxMetadata]))

  private static func metadata(
    _ region: RegionTable.Region, _ read: (UnsafeMutableRawBufferPointer, UInt64) -> Void
  ) -> MetadataTable? {
    answer { () throws(ImageError) in
      try MetadataTable(file: "metadata", region: region) { (buffer, offset) throws(ImageError) in
        read(buffer, offset)
      }
    }
  }

  /// Entries of payload and of bitmaps take turns as the format says, and none is beyond the table.
  static func check(_ geometry: BlockTableGeometry) throws {
    try require(geometry.payloadBlocks > 0 && geometry.chunkRatio > 0, "a table without blocks")
    let last = geometry.payloadBlocks - 1
    for block in [0, 1, geometry.chunkRatio - 1, geometry.chunkRatio, last / 2, last] where block <= last {
      let index = geometry.payloadIndex(block)
      try require(
        index < geometry.entries && !geometry.isBitmap(index: index), "block \(block) has entry \(index)")
      let bitmap = geometry.bitmapIndex(chunk: geometry.chunk(ofBlock: block))
      try require(
        geometry.isBitmap(index: bitmap) && bitmap > index, "the bitmap of block \(block) has entry \(bitmap)"
      )
      let length = geometry.blockLength(block)
      try require(length > 0 && length <= geometry.blockSize, "block \(block) has \(length) bytes")
    }
  }

  /// The parent locator.
  static let vhdxLocator = FuzzTarget(
    name: "vhdx-locator", subject: "VHDX: parent locator", maximumLength: 4096,
    run: { input in
      guard
        let locator = answer({ () throws(ImageError) in
          try VHDX.ParentLocator(Array(input), file: "locator", at: 0)
        })
      else { return }
      let paths = [locator.relativePath, locator.volumePath, locator.absoluteWin32Path].compactMap { $0 }
      try require(!paths.isEmpty, "a locator without a path")
      let again = answer { () throws(ImageError) in
        try VHDX.ParentLocator(locator.encode(file: "locator"), file: "locator", at: 0)
      }
      try require(again == locator, "a parent locator does not survive being written and read")
    },
    form: .locator)

  /// The block table.
  static let vhdxBlocks = FuzzTarget(
    name: "vhdx-blocks", subject: "VHDX: block table, bitmaps, the look for shared places",
    run: { input in
      let image = SparseImage(decoding: input)
      let file = HostFile(path: "blocks", double: FuzzFile(image))
      guard let disk = answer({ () throws(ImageError) in try VHDXImage(file) }) else { return }
      try check(disk.geometry)
      try walk(disk)
      guard disk.geometry.entries <= 1 << 17, image.size <= VHDXFormat.largestWrittenFile else { return }
      let used = answer { () throws(ImageError) in try disk.spaceInUse(below: image.size, inSession: false) }
      if let used { try check(used, disk, image) }
    },
    form: .file([.vhdxRegions, .vhdxMetadata, .vhdxTable]))

  /// Where the table was found to be good, no two blocks share a place: looked at pair by pair.
  private static func check(_ used: SpaceUse, _ disk: VHDXImage, _ image: SparseImage) throws {
    guard disk.geometry.entries <= 300, !disk.logIsDirty else { return }
    var places: [Range<UInt64>] = []
    for index in 0..<disk.geometry.entries {
      let entry = BlockTableEntry(
        rawValue: image.littleEndian(at: disk.regions.blockTable.offset + index * 8))
      guard entry.state == .fullyPresent || entry.state == .partiallyPresent else { continue }
      let isBitmap = disk.geometry.isBitmap(index: index)
      let range = entry.offset..<(entry.offset + (isBitmap ? 1 << 20 : disk.blockSize))
      try require(
        !places.contains { $0.overlaps(range) } && !disk.structures.contains { $0.overlaps(range) },
        "entry \(index) puts a block onto something else, and nobody says so")
      try require(
        isBitmap || entry.offset + min(disk.blockSize, disk.virtualSize) <= image.size
          || entry.offset + disk.geometry.blockLength(disk.geometry.payloadBlocks - 1) <= image.size,
        "entry \(index) puts a block outside the file, and nobody says so")
      try require(used.end >= range.upperBound, "room in use ends before entry \(index)")
      places.append(range)
    }
  }

  /// Resolves the disk from end to end, as far as a bounded number of steps goes.
  static func walk(_ disk: VHDXImage) throws {
    var offset: UInt64 = 0
    for _ in 0..<2000 where offset < disk.virtualSize {
      let left = disk.virtualSize - offset
      guard let run = answer({ () throws(ImageError) in try disk.locate(offset, limit: left, mayWait: true) })
      else {
        offset = (offset >> disk.blockShift + 1) << disk.blockShift
        continue
      }
      try require(run.length > 0 && run.length <= left, "a run of \(run.length) bytes where \(left) are left")
      if run.kind == .data || run.kind == .logged {
        let (end, overflow) = run.fileOffset.addingReportingOverflow(run.length)
        try require(!overflow && end <= UInt64(Int64.max), "data at \(run.fileOffset) + \(run.length)")
        try require(
          !disk.structures.contains { $0.overlaps(run.fileOffset..<end) },
          "data at \(run.fileOffset), on a structure of the file")
      }
      offset += run.length
    }
  }
}
