/// What lies in an ext volume beside its bitmaps and says whether it was closed: the journal's own superblock, and the block
/// of multiple mount protection.
extension ExtGroupReader {
  /// The journal must be empty, whatever the superblock says of it. The answer: the blocks that say so.
  mutating func checkJournal(_ superblock: ExtSuperblock) throws(SurveyStop) -> [UInt64] {
    guard geometry.features.has(compatible: ExtFeatures.hasJournal) else { return [] }
    let inode: UInt32 = superblock.bytes.little(at: 0xE0)
    guard inode != 0 else { throw .dirty("its journal lies on another device, and may have to be replayed") }
    let path = try blocks(ofInode: UInt64(inode))
    let journal = try block(path.last ?? 0, "the journal")
    // journal_superblock_t, big-endian: mark, kind 3 or 4, block size, …, the first block to replay, an error.
    guard journal.big(UInt32.self, at: 0) == 0xC03B_3998, (3...4).contains(journal.big(UInt32.self, at: 4)),
      UInt64(journal.big(UInt32.self, at: 0x0C)) == geometry.blockSize
    else { throw .damaged("its journal has no superblock") }
    if journal.big(UInt32.self, at: 0x1C) != 0 { throw .dirty("its journal is to be replayed") }
    if journal.big(UInt32.self, at: 0x20) != 0 { throw .dirty("its journal was ended by an error") }
    return path
  }

  /// struct mmp_struct: a mark, and a number that says that nobody holds the volume.
  func checkMountProtection(_ superblock: ExtSuperblock) throws(SurveyStop) -> [UInt64] {
    guard geometry.features.has(incompatible: ExtFeatures.multipleMountProtection) else { return [] }
    let place = superblock.bytes.little(UInt64.self, at: 0x168)
    let bytes = try block(place, "the block of mount protection")
    guard bytes.little(UInt32.self, at: 0) == 0x004D_4D50 else {
      throw .damaged("the block of mount protection")
    }
    guard bytes.little(UInt32.self, at: 4) == 0xFF4D_4D50 else {
      throw .dirty("it is in use, by its mount protection")
    }
    return [place]
  }

  /// The blocks of the tree of extents that leads to a file's first block, and that one at the end.
  private mutating func blocks(ofInode number: UInt64) throws(SurveyStop) -> [UInt64] {
    let group = (number - 1) / geometry.inodesPerGroup
    guard group < geometry.groupCount else { throw .damaged("the journal's inode does not exist") }
    let table = try descriptor(ofGroup: group).inodeTable
    let place = (number - 1) % geometry.inodesPerGroup * geometry.inodeSize
    let inode = try volume.bytes(at: table * geometry.blockSize + place, count: 128, "the journal's inode")
    guard inode.little(UInt32.self, at: 0x20) & 0x80000 != 0 else {
      return [UInt64(inode.little(UInt32.self, at: 0x28))]
    }
    guard geometry.features.has(incompatible: ExtFeatures.extents) else {
      throw .damaged("the journal's inode has extents that the superblock does not know")
    }
    return try blocks(ofExtents: Array(inode[0x28..<0x64]))
  }

  /// Down the first branch of a tree of extents: entries of 12 bytes behind a header of 12.
  private func blocks(ofExtents root: [UInt8]) throws(SurveyStop) -> [UInt64] {
    var node = root
    var path: [UInt64] = []
    var expected: UInt16?
    while true {
      let entries = node.little(UInt16.self, at: 2)
      let depth = node.little(UInt16.self, at: 6)
      guard node.little(UInt16.self, at: 0) == 0xF30A, entries > 0, depth <= 5,
        expected == nil || depth == expected,
        node.little(UInt32.self, at: 12) == 0
      else { throw .damaged("the journal's extents make no sense") }
      guard depth > 0 else {
        return path + [
          UInt64(node.little(UInt32.self, at: 20)) | UInt64(node.little(UInt16.self, at: 18)) << 32
        ]
      }
      let child = UInt64(node.little(UInt32.self, at: 16)) | UInt64(node.little(UInt16.self, at: 20)) << 32
      path.append(child)
      node = try block(child, "the journal's extents")
      expected = depth - 1
    }
  }
}
