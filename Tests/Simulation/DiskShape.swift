import Storage
import TestSupport
import VHD
import VHDX

/// How the root of a simulated chain is made. Its children are made by steps of the history (`Action.child`).
package struct DiskShape: Sendable, Equatable, Codable, CustomStringConvertible {
  package var isVHD: Bool
  package var isFixed: Bool
  /// Bytes; a number of whole sectors, rarely of whole blocks.
  package var size: Int
  package var blockSize: Int
  package var sectorSize: Int
  /// How many pages of tables an image keeps in memory; nil: as many as the program does.
  package var tablePages: Int?

  /// Changes are tracked, from the disk's beginning on.
  package var isTracked = false
  /// A VHD that was not closed is believed to be as it was left.
  package var isSoleWriter = false

  package init(isVHD: Bool, isFixed: Bool, size: Int, blockSize: Int, sectorSize: Int, tablePages: Int? = nil)
  {
    self.isVHD = isVHD
    self.isFixed = isFixed
    self.size = size
    self.blockSize = blockSize
    self.sectorSize = sectorSize
    self.tablePages = tablePages
  }

  package var description: String {
    "\(isVHD ? "VHD" : "VHDX"), \(isFixed ? "fixed" : "dynamic"), \(size) bytes, blocks of \(blockSize), "
      + "sectors of \(sectorSize)" + (tablePages.map { ", \($0) pages of tables in memory" } ?? "")
      + (isTracked ? isSoleWriter ? ", tracked, sole writer" : ", tracked" : "")
  }

  /// A shape of the kind's format; the kind's type is the root's only where it has no parents.
  package init(_ kind: ChainKind, _ generator: inout SeededGenerator) {
    isVHD = kind.isVHD
    isFixed = kind.isFixed || kind.parentCount > 0 && Int.random(in: 0..<4, using: &generator) == 0
    // One in four has few pages, so that they are pushed out.
    tablePages =
      Int.random(in: 0..<4, using: &generator) == 0 ? Int.random(in: 4...6, using: &generator) : nil
    if isVHD {
      sectorSize = 512
      blockSize = DiskShape.blockSize(isVHD: true, &generator)
      let blocks = Int.random(in: 2...(blockSize < 65536 ? 60 : 6), using: &generator)
      size = blocks * blockSize
      // Over a thousand small blocks: a table of two pages.
      if blockSize == 4096, tablePages != nil { size += 1100 * blockSize }
    } else {
      sectorSize = kind == .child4KVHDX || Int.random(in: 0..<4, using: &generator) == 0 ? 4096 : 512
      blockSize = DiskShape.blockSize(isVHD: false, &generator)
      size = Int.random(in: 1...4, using: &generator) << 20
      // Bitmaps of several pages.
      if tablePages != nil, kind.parentCount > 0 { size += 20 << 20 }
    }
    isTracked = Int.random(in: 0..<3, using: &generator) > 0
    isSoleWriter = isTracked && Bool.random(using: &generator)
    if Bool.random(using: &generator) {
      size -= Int.random(in: 1..<max(2, min(blockSize, 1 << 20) / sectorSize), using: &generator) * sectorSize
    }
  }

  /// A block size that the format knows; small ones most of the time.
  package static func blockSize(isVHD: Bool, _ generator: inout SeededGenerator) -> Int {
    let shift =
      isVHD
      ? [12, 12, 13, 14, 16, 17, 19].randomElement(using: &generator)
      : [20, 20, 20, 21].randomElement(using: &generator)
    return 1 << (shift ?? 20)
  }

  /// A new file: the root, or with a parent's contents its child.
  package func makeFile(size: Int, blockSize: Int, parent: SparseBytes?) throws -> RecordedFile {
    let double = RecordedFile()
    try makeFile(double, size: size, blockSize: blockSize, parent: parent)
    return double
  }

  package func makeFile(_ double: RecordedFile, size: Int, blockSize: Int, parent: SparseBytes?) throws {
    let file = HostFile(path: "new", double: double)
    let above = parent.map { HostFile(path: "parent", double: RecordedFile($0)) }
    if isVHD {
      let parent = try above.map {
        VHDParent(
          uniqueID: try VHDImage($0).footer.uniqueID, timeStamp: 0, relativePath: ".\\parent.vhd",
          absolutePath: "C:\\parent.vhd")
      }
      var options = VHDCreation(
        kind: parent.map { .differencing(parent: $0) } ?? (isFixed ? .fixed(reserve: false) : .dynamic),
        virtualSize: UInt64(size), blockSize: UInt32(blockSize), timeStamp: 0)
      options.takesAnyBlockSize = true
      try VHDImage.create(file, options)
    } else {
      let parent = try above.map {
        VHDX.ParentLocator(linkage: try VHDXImage($0).dataWriteGUID, relativePath: ".\\parent.vhdx")
      }
      try VHDXImage.create(
        file,
        VHDXCreation(
          kind: parent.map { .differencing(parent: $0, inherited: []) }
            ?? (isFixed ? .fixed(reserve: false) : .dynamic),
          virtualSize: UInt64(size), blockSize: UInt64(blockSize), logicalSectorSize: UInt32(sectorSize),
          physicalSectorSize: 4096))
    }
  }
}
