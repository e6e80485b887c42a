/// The survey of an ext volume: whether its bitmaps can be believed, and how much they call free.
///
/// Every block that is read here (superblock, descriptors, bitmaps, journal), and every inode table, must be called used
/// by the bitmaps: free space that is overwritten then changes nothing of what is read later.
struct ExtSurvey {
  private(set) var freeBytes: UInt64 = 0
  private(set) var damagedGroups: UInt64 = 0
  let geometry: ExtGeometry

  private var reader: ExtGroupReader
  /// The groups asked for last; the first is the latest. With flex_bg many groups' structures lie in one.
  private var recent: [(group: UInt64, use: ExtGroupUse)] = []
  private static let mostRecent = 6

  init(_ superblock: ExtSuperblock, _ volume: VolumeReader) throws(SurveyStop) {
    try superblock.check()
    try superblock.checkClosed()
    geometry = try ExtGeometry(superblock, volumeLength: volume.length)
    reader = ExtGroupReader(geometry: geometry, volume: volume)
    let others = try reader.checkMountProtection(superblock) + reader.checkJournal(superblock)
    for group in 0..<geometry.groupCount { try visit(group) }
    for block in others { try requireUsed(block, 1) }
  }

  var notes: [String] {
    damagedGroups == 0
      ? []
      : ["\(damagedGroups) of \(geometry.groupCount) block groups have damaged bitmaps and count as used"]
  }

  private mutating func visit(_ group: UInt64) throws(SurveyStop) {
    let use = try use(ofGroup: group)
    if use.isDamaged { damagedGroups += 1 }
    freeBytes += UInt64(use.freeCount) * geometry.pieces.unitSize
    if group == geometry.groupCount - 1, case .bitmap(let bits) = use.piece { subtractOverhang(bits) }
    if group == 0 { try requireUsed(geometry.superblockBlock, 1) }
    if group % geometry.descriptorsPerBlock == 0 {
      try requireUsed(geometry.descriptorBlock(group / geometry.descriptorsPerBlock), 1)
    }
    for (first, count) in use.descriptor.structures(geometry) { try requireUsed(first, count) }
  }

  /// The last cluster may reach beyond the last block.
  private mutating func subtractOverhang(_ bits: [UInt8]) {
    let pieces = geometry.pieces
    let last = geometry.clusters(inGroup: geometry.groupCount - 1) - 1
    guard UsedBits.isAnyClear(in: bits, last..<(last + 1)) else { return }
    freeBytes -= pieces.base + pieces.unitCount * pieces.unitSize - pieces.end
  }

  /// Blocks below the first data block (the boot block of a volume of 1 KiB blocks) are in no bitmap, and never free.
  private mutating func requireUsed(_ first: UInt64, _ count: UInt64) throws(SurveyStop) {
    var block = max(first, geometry.firstDataBlock)
    let end = first + count
    while block < end {
      let group = (block - geometry.firstDataBlock) / geometry.blocksPerGroup
      let upper = min(end, geometry.blocks(ofGroup: group).upperBound)
      guard block < upper else { throw .damaged("a structure lies outside the file system") }
      if case .bitmap(let bits) = try use(ofGroup: group).piece,
        UsedBits.isAnyClear(in: bits, geometry.clusters(of: block..<upper, inGroup: group))
      {
        throw .damaged(
          "the block bitmap of group \(group) calls blocks free that hold the file system's structures")
      }
      block = upper
    }
  }

  private mutating func use(ofGroup group: UInt64) throws(SurveyStop) -> ExtGroupUse {
    if let place = recent.firstIndex(where: { $0.group == group }) {
      let found = recent.remove(at: place)
      recent.insert(found, at: 0)
      return found.use
    }
    let use = try reader.use(ofGroup: group)
    if recent.count == ExtSurvey.mostRecent { recent.removeLast() }
    recent.insert((group, use), at: 0)
    return use
  }
}
