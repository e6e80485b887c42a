/// Where the structures of an ext volume lie: worked out once from a superblock that was found whole.
///
/// Invariants: blockSize is 1 to 64 KiB; blockCount * blockSize lies inside the volume; a group's bitmap is one block;
/// all groups' bitmaps together are at most `mostBitmapBytes`.
struct ExtGeometry: Sendable {
  /// Bytes of bitmaps that are read at most: what a volume of 64 TiB in blocks of 1 KiB has. Groups that are far smaller
  /// than their bitmaps could be would make a survey endless.
  static let mostBitmapBytes: UInt64 = 8 << 30

  let features: ExtFeatures
  let checksumSeed: UInt32
  let uuid: [UInt8]
  /// Bytes.
  let blockSize: UInt64
  /// Blocks, all below in the same.
  let blockCount: UInt64
  let firstDataBlock: UInt64
  let blocksPerGroup: UInt64
  /// Blocks to a bit of a bitmap: more than 1 with bigalloc.
  let blocksPerCluster: UInt64
  let inodesPerGroup: UInt64
  let inodeTableBlocks: UInt64
  /// Bytes.
  let inodeSize: UInt64
  /// Bytes: 32, or at least 64.
  let descriptorSize: UInt64
  let reservedDescriptorBlocks: UInt64
  let firstMetaBlockGroup: UInt64
  let backupGroups: (UInt64, UInt64)

  init(_ superblock: ExtSuperblock, volumeLength: UInt64) throws(SurveyStop) {
    let bytes = superblock.bytes
    features = superblock.features
    checksumSeed = superblock.checksumSeed
    uuid = Array(superblock.uuid)
    let logarithm: UInt32 = bytes.little(at: 0x18)
    guard logarithm <= 6 else { throw .damaged("an impossible block size") }
    blockSize = 1024 << UInt64(logarithm)
    let is64Bit = features.has(incompatible: ExtFeatures.is64Bit)
    blockCount =
      UInt64(bytes.little(UInt32.self, at: 0x04))
      | (is64Bit ? UInt64(bytes.little(UInt32.self, at: 0x150)) << 32 : 0)
    guard blockCount > 0, blockCount <= volumeLength / blockSize else {
      throw .damaged("the file system is larger than its place")
    }
    let clusterLogarithm: UInt32 = bytes.little(at: 0x1C)
    let hasClusters = features.has(readOnly: ExtFeatures.clusters)
    guard clusterLogarithm >= logarithm, clusterLogarithm <= 20, hasClusters || clusterLogarithm == logarithm
    else {
      throw .damaged("an impossible cluster size")
    }
    blocksPerCluster = 1 << UInt64(clusterLogarithm - logarithm)
    firstDataBlock = UInt64(bytes.little(UInt32.self, at: 0x14))
    guard firstDataBlock == (clusterLogarithm == 0 ? 1 : 0), firstDataBlock < blockCount else {
      throw .damaged("an impossible first block")
    }
    blocksPerGroup = UInt64(bytes.little(UInt32.self, at: 0x20))
    let clustersPerGroup = UInt64(bytes.little(UInt32.self, at: 0x24))
    guard clustersPerGroup * blocksPerCluster == blocksPerGroup, clustersPerGroup >= 8,
      clustersPerGroup % 8 == 0,
      clustersPerGroup <= blockSize * 8
    else { throw .damaged("an impossible size of block groups") }
    let isOld = bytes.little(UInt32.self, at: 0x4C) == 0
    inodeSize = isOld ? 128 : UInt64(bytes.little(UInt16.self, at: 0x58))
    guard inodeSize >= 128, inodeSize <= blockSize, inodeSize.nonzeroBitCount == 1 else {
      throw .damaged("an impossible inode size")
    }
    inodesPerGroup = UInt64(bytes.little(UInt32.self, at: 0x28))
    guard inodesPerGroup > 0, inodesPerGroup <= blockSize * 8 else {
      throw .damaged("an impossible number of inodes")
    }
    inodeTableBlocks = (inodesPerGroup * inodeSize + blockSize - 1) / blockSize
    descriptorSize = is64Bit ? UInt64(bytes.little(UInt16.self, at: 0xFE)) : 32
    guard descriptorSize == 32 && !is64Bit || descriptorSize >= 64 && descriptorSize <= 1024,
      descriptorSize.nonzeroBitCount == 1
    else { throw .damaged("an impossible size of group descriptors") }
    reservedDescriptorBlocks = UInt64(bytes.little(UInt16.self, at: 0xCE))
    firstMetaBlockGroup = UInt64(bytes.little(UInt32.self, at: 0x104))
    backupGroups = (
      UInt64(bytes.little(UInt32.self, at: 0x24C)), UInt64(bytes.little(UInt32.self, at: 0x250))
    )
    guard inodeTableBlocks <= blocksPerGroup else {
      throw .damaged("inode tables larger than their block groups")
    }
    guard groupCount <= ExtGeometry.mostBitmapBytes / blockSize else {
      throw .unsupported("an ext file system of too many block groups")
    }
    guard features.has(incompatible: ExtFeatures.metaBlockGroups) || descriptorEnd <= blockCount else {
      throw .damaged("the group descriptors lie outside the file system")
    }
    guard
      !features.has(incompatible: ExtFeatures.metaBlockGroups) || firstMetaBlockGroup <= descriptorBlockCount
    else {
      throw .damaged("an impossible first meta block group")
    }
  }

  var groupCount: UInt64 { (blockCount - firstDataBlock + blocksPerGroup - 1) / blocksPerGroup }
  var descriptorsPerBlock: UInt64 { blockSize / descriptorSize }
  var descriptorBlockCount: UInt64 { (groupCount + descriptorsPerBlock - 1) / descriptorsPerBlock }
  /// The block of the first superblock: byte 1024 lies in it.
  var superblockBlock: UInt64 { blockSize == 1024 ? 1 : 0 }
  private var descriptorEnd: UInt64 { superblockBlock + 1 + descriptorBlockCount }

  var pieces: PieceGeometry {
    let clusterSize = blockSize * blocksPerCluster
    return PieceGeometry(
      base: firstDataBlock * blockSize, unitSize: clusterSize,
      unitCount: (blockCount - firstDataBlock + blocksPerCluster - 1) / blocksPerCluster,
      unitsPerPiece: blocksPerGroup / blocksPerCluster, end: blockCount * blockSize)
  }

  func firstBlock(ofGroup group: UInt64) -> UInt64 { firstDataBlock + group * blocksPerGroup }

  func blocks(ofGroup group: UInt64) -> Range<UInt64> {
    let first = firstBlock(ofGroup: group)
    return first..<min(first + blocksPerGroup, blockCount)
  }

  func clusters(inGroup group: UInt64) -> Int { pieces.units(inPiece: group) }
}

// MARK: - Copies of the superblock and descriptors

extension ExtGeometry {
  /// A superblock, or a copy, begins this group.
  func hasSuperblock(_ group: UInt64) -> Bool {
    if group == 0 { return true }
    if features.has(compatible: ExtFeatures.sparseSuper2) {
      return group == backupGroups.0 || group == backupGroups.1
    }
    if group == 1 || !features.has(readOnly: ExtFeatures.sparseSuper) { return true }
    return group & 1 == 1 && [3, 5, 7].contains { ExtGeometry.isPower(group, of: $0) }
  }

  private static func isPower(_ number: UInt64, of base: UInt64) -> Bool {
    var power = base
    while power < number { power *= base }
    return power == number
  }

  private func isMetaBlockGroup(_ group: UInt64) -> Bool {
    features.has(incompatible: ExtFeatures.metaBlockGroups)
      && group / descriptorsPerBlock >= firstMetaBlockGroup
  }

  /// Blocks at the start of a group that hold a superblock, descriptors, and room for more of them.
  func leadingBlocks(ofGroup group: UInt64) -> UInt64 {
    let own: UInt64 = hasSuperblock(group) ? 1 : 0
    if isMetaBlockGroup(group) {
      let place = group % descriptorsPerBlock
      return own + (place <= 1 || place == descriptorsPerBlock - 1 ? 1 : 0)
    }
    guard own == 1 else { return 0 }
    let isMixed = features.has(incompatible: ExtFeatures.metaBlockGroups)
    return 1 + (isMixed ? firstMetaBlockGroup : descriptorBlockCount) + reservedDescriptorBlocks
  }

  /// Where the descriptors' block `index` lies.
  func descriptorBlock(_ index: UInt64) -> UInt64 {
    let group = index * descriptorsPerBlock
    guard isMetaBlockGroup(group) else { return superblockBlock + 1 + index }
    // Block 0 of blocks of 1 KiB holds no superblock even where the first group begins with it.
    let shift: UInt64 = index == 0 && blockSize == 1024 && firstDataBlock == 0 ? 1 : 0
    return firstBlock(ofGroup: group) + (hasSuperblock(group) ? 1 : 0) + shift
  }
}
