import Storage

/// Where in the file blocks may lie.
struct BlockBounds: Sendable {
  /// Where the footer at the end begins; where the file ends if there is none.
  var end: UInt64
  /// There is a footer at the end. Without one the file was cut, and what is left of a block can be read.
  var hasFooter: Bool

  /// Refuses a place on the tables, the footer or outside the file.
  func check(
    _ block: UInt64, at place: UInt64, _ layout: BlockLayout, _ file: HostFile
  ) throws(ImageError) {
    let extent = layout.extent(of: block, at: place)
    if place >= layout.tablesEnd && extent.end <= end { return }
    if let structure = layout.reserved.first(where: { $0.overlaps(extent) }) {
      throw .damaged(
        file.path, at: layout.tableOffset + block * 4,
        "the block table puts block \(block) (disk offset \(block << layout.blockShift)) at offset "
          + "\(place), on the image's own structure at \(structure.offset); the table is damaged")
    }
    if hasFooter && extent.end > end || place + layout.bitmapLength > end {
      throw outside(block, extent, file)
    }
  }

  func outside(_ block: UInt64, _ extent: FileExtent, _ file: HostFile) -> ImageError {
    .damaged(
      file.path, at: extent.offset,
      "block \(block) ends at \(extent.end), but only \(end) bytes of the file can hold blocks; the file "
        + "was cut or is still being copied, or its block table is damaged")
  }
}
