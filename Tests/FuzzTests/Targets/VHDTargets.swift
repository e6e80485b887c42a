import Storage

@testable import VHD

extension FuzzTarget {
  /// The footer and its copy.
  static let vhdFooter = FuzzTarget(
    name: "vhd-footer", subject: "VHD: footer and its copy, the search for them", maximumLength: 4096,
    run: { input in
      let image = SparseImage(decoding: input)
      for place in image.footerPlaces {
        let bytes = image.bytes(at: place, count: Footer.length)
        guard case .valid(let footer) = bytes.withUnsafeBytes({ Footer.examine($0) }) else { continue }
        var again = [UInt8](repeating: 0, count: Footer.length)
        again.withUnsafeMutableBytes { footer.encode(into: $0) }
        guard case .valid(let second) = again.withUnsafeBytes({ Footer.examine($0) }), second == footer else {
          throw BrokenPromise(description: "a footer does not survive being written and read: \(footer)")
        }
        _ = footer.creatorApplication.description
        _ = footer.diskSize
      }
      let file = HostFile(path: "footer", double: FuzzFile(image))
      guard let search = answer({ () throws(ImageError) in try FooterSearch(file) }) else { return }
      try require(search.tailOffset <= search.fileSize, "the footer begins behind the end of the file")
      try require(search.bytes.count == Footer.length, "the footer kept has \(search.bytes.count) bytes")
      let size = search.footer.diskSize
      try require(size > 0 && size % 512 == 0 && size <= UInt64(Int64.max), "a disk of \(size) bytes")
      if search.footer.diskType == .fixed {
        try require(size <= search.tailOffset, "a fixed disk leaves its file")
      }
    },
    form: .file([.vhdFooter]))

  /// The dynamic header, and what it makes of the file.
  static let vhdHeader = FuzzTarget(
    name: "vhd-header", subject: "VHD: dynamic header and the layout it describes", maximumLength: 8192,
    run: { input in
      let image = SparseImage(decoding: input)
      guard let place = image.dynamicHeaderPlace else { return }
      let bytes = image.bytes(at: place, count: DynamicHeader.length)
      guard let header = bytes.withUnsafeBytes({ DynamicHeader($0) }) else { return }
      var again = [UInt8](repeating: 0, count: DynamicHeader.length)
      again.withUnsafeMutableBytes { header.encode(into: $0) }
      guard var second = again.withUnsafeBytes({ DynamicHeader($0) }) else {
        throw BrokenPromise(description: "a dynamic header that was written is not read")
      }
      // A name of all 256 units is cut to 255 when it is written, for the zero behind it.
      if header.parentName.utf16.count > 255 { second.parentName = header.parentName }
      try require(second == header, "a dynamic header does not survive being written and read")
      let file = HostFile(path: "header", double: FuzzFile(image))
      // Whoever opens an image has made sure by then that the header is where the footer says, and inside.
      guard let search = answer({ () throws(ImageError) in try FooterSearch(file) }),
        search.footer.dataOffset == place, place % 512 == 0, place >= UInt64(Footer.length),
        place + UInt64(DynamicHeader.length) <= search.tailOffset,
        let layout = answer({ () throws(ImageError) in
          try BlockLayout(header, footer: search.footer, file: file, dataEnd: search.tailOffset)
        })
      else { return }
      try check(layout, search)
    },
    form: .file([.vhdFooter, .vhdHeader]))

  private static func check(_ layout: BlockLayout, _ search: FooterSearch) throws {
    try require(layout.tableEnd <= search.tailOffset, "the block table leaves the file")
    try require(layout.blockCount << layout.blockShift >= layout.virtualSize, "too few blocks for the disk")
    try require(layout.tablesEnd >= layout.tableEnd, "new blocks would go onto the block table")
    try require(layout.bitmapLength * 8 * 512 >= layout.blockSize, "a bitmap has too few bits for a block")
    try require(layout.reserved.allSatisfy { $0.end <= search.fileSize }, "a structure leaves the file")
    let last = layout.diskLength(of: layout.blockCount - 1)
    try require(last > 0 && last <= layout.blockSize, "the last block has \(last) bytes")
  }

  /// What a child records of its parent.
  static let vhdParent = FuzzTarget(
    name: "vhd-parent", subject: "VHD: parent locators and the paths they name", maximumLength: 8192,
    run: { input in
      let image = SparseImage(decoding: input)
      guard let place = image.dynamicHeaderPlace else { return }
      let bytes = image.bytes(at: place, count: DynamicHeader.length)
      guard let header = bytes.withUnsafeBytes({ DynamicHeader($0) }) else { return }
      let file = HostFile(path: "child", double: FuzzFile(image))
      guard
        let parent = answer({ () throws(ImageError) in
          try ParentReference(header, file: file, fileSize: image.size)
        })
      else { return }
      let paths = parent.relativePaths + parent.otherPaths
      // Two for each URL, and the name in the header.
      try require(paths.count <= 17, "\(paths.count) paths from eight locators")
      for path in paths {
        try require(!path.isEmpty, "an empty path")
        // A unit of UTF-16 takes three bytes of UTF-8 at most, as does a byte that is none.
        try require(
          path.utf8.count <= Int(ParentReference.longestPath) * 3, "a path of \(path.utf8.count) bytes")
      }
    },
    form: .file([.vhdHeader, .vhdLocators]))

  /// The block table.
  static let vhdBlocks = FuzzTarget(
    name: "vhd-blocks", subject: "VHD: block table, bitmaps, the look for overlaps",
    run: { input in
      let image = SparseImage(decoding: input)
      let file = HostFile(path: "blocks", double: FuzzFile(image))
      guard let disk = answer({ () throws(ImageError) in try VHDImage(file) }), let store = disk.blocks else {
        return
      }
      let layout = store.layout
      let bounds = BlockBounds(end: disk.search.tailOffset, hasFooter: disk.search.tail != .lost)
      if layout.blockCount <= 1 << 16,
        let scan = answer({ () throws(ImageError) in try TableScan(layout, bounds, file) })
      {
        try check(scan, layout, bounds, image)
      }
      try walk(disk, layout, bounds)
    },
    form: .file([.vhdFooter, .vhdHeader, .vhdTable]))

  /// Compares the look through a small table with one that takes each pair of blocks.
  private static func check(
    _ scan: TableScan, _ layout: BlockLayout, _ bounds: BlockBounds, _ image: SparseImage
  ) throws {
    guard layout.blockCount <= 256 else { return }
    var blocks: [(block: UInt64, extent: FileExtent)] = []
    for block in 0..<layout.blockCount {
      let entry: UInt32 = image.bigEndian(at: layout.tableOffset + block * 4)
      if entry != .max { blocks.append((block, layout.extent(of: block, at: UInt64(entry) * 512))) }
    }
    try require(
      scan.allocated == UInt64(blocks.count), "\(scan.allocated) blocks counted, \(blocks.count) there")
    for (index, one) in blocks.enumerated() {
      for other in blocks[(index + 1)...] where one.extent.overlaps(other.extent) {
        try require(scan.problem != nil, "blocks \(one.block) and \(other.block) overlap, and nobody says so")
        try require(
          scan.isOverlapping(one.block) && scan.isOverlapping(other.block),
          "of blocks \(one.block) and \(other.block), which overlap, one is trusted")
      }
      if one.extent.end > bounds.end || one.extent.offset < 512 {
        try require(scan.problem != nil, "block \(one.block) leaves the room of blocks, and nobody says so")
      }
      for gap in scan.gaps { try require(!gap.overlaps(one.extent), "a gap lies on block \(one.block)") }
    }
  }

  /// Resolves the disk from end to end, as far as a bounded number of steps goes.
  private static func walk(_ disk: VHDImage, _ layout: BlockLayout, _ bounds: BlockBounds) throws {
    var offset: UInt64 = 0
    var used: [FileExtent] = []
    for _ in 0..<2000 where offset < disk.virtualSize {
      let left = disk.virtualSize - offset
      guard let run = answer({ () throws(ImageError) in try disk.locate(offset, limit: left, mayWait: true) })
      else {
        // The next block may be sound.
        offset = (offset >> layout.blockShift + 1) << layout.blockShift
        continue
      }
      try require(run.length > 0 && run.length <= left, "a run of \(run.length) bytes where \(left) are left")
      if run.kind == .data {
        let (end, overflow) = run.fileOffset.addingReportingOverflow(run.length)
        try require(
          !overflow && end <= bounds.end,
          "data at \(run.fileOffset) + \(run.length), the file ends at \(bounds.end)")
        let extent = FileExtent(offset: run.fileOffset, length: run.length)
        try require(
          !layout.reserved.contains { $0.overlaps(extent) }, "data at \(run.fileOffset), on a structure")
        if used.count < 200 {
          try require(
            !used.contains { $0.overlaps(extent) },
            "two places of the disk are one of the file, \(run.fileOffset)")
          used.append(extent)
        }
      }
      offset += run.length
    }
  }
}
