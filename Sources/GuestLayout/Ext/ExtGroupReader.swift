/// What the block bitmap of one group says, after every check that the volume offers.
struct ExtGroupUse {
  var descriptor: ExtGroupDescriptor
  var piece: SpacePiece
  /// The bitmap is not what the descriptor says, so the group is all used.
  var isDamaged = false
  /// Clusters.
  var freeCount = 0
}

/// Reads descriptors and bitmaps of an ext volume, one block of descriptors kept.
struct ExtGroupReader {
  let geometry: ExtGeometry
  let volume: VolumeReader
  private var descriptors: (block: UInt64, bytes: [UInt8])?

  init(geometry: ExtGeometry, volume: VolumeReader) {
    self.geometry = geometry
    self.volume = volume
  }

  mutating func descriptor(ofGroup group: UInt64) throws(SurveyStop) -> ExtGroupDescriptor {
    let index = group / geometry.descriptorsPerBlock
    let bytes: [UInt8]
    if let descriptors, descriptors.block == index {
      bytes = descriptors.bytes
    } else {
      bytes = try block(geometry.descriptorBlock(index), "a block of group descriptors")
      descriptors = (index, bytes)
    }
    let place = Int(group % geometry.descriptorsPerBlock * geometry.descriptorSize)
    return try ExtGroupDescriptor(
      bytes[place..<(place + Int(geometry.descriptorSize))], group: group, geometry)
  }

  /// Where the group cannot be believed it is all used; an error where the volume cannot.
  mutating func use(ofGroup group: UInt64) throws(SurveyStop) -> ExtGroupUse {
    let descriptor = try descriptor(ofGroup: group)
    let clusters = geometry.clusters(inGroup: group)
    let bits: [UInt8]
    if descriptor.hasNoBitmap {
      // The first group holds the superblock, and the root directory: it always has a bitmap.
      guard group > 0 else { throw .damaged("the first block group has no bitmap") }
      bits = initialBitmap(ofGroup: group, descriptor)
    } else {
      bits = try block(descriptor.blockBitmap, "the block bitmap of group \(group)")
      guard hasRightChecksum(bits, descriptor) else {
        return ExtGroupUse(descriptor: descriptor, piece: .allUsed, isDamaged: true)
      }
    }
    let free = UsedBits.clearCount(in: bits, count: clusters)
    guard free == descriptor.freeCount else {
      return ExtGroupUse(descriptor: descriptor, piece: .allUsed, isDamaged: true)
    }
    return ExtGroupUse(descriptor: descriptor, piece: .bitmap(bits), freeCount: free)
  }

  func block(_ number: UInt64, _ what: @autoclosure () -> String) throws(SurveyStop) -> [UInt8] {
    guard number < geometry.blockCount else { throw .damaged("\(what()) lies outside the file system") }
    return try volume.bytes(at: number * geometry.blockSize, count: Int(geometry.blockSize), what())
  }

  private func hasRightChecksum(_ bits: [UInt8], _ descriptor: ExtGroupDescriptor) -> Bool {
    guard geometry.features.has(readOnly: ExtFeatures.metadataChecksums) else { return true }
    let covered = Int(geometry.pieces.unitsPerPiece / 8)
    let sum = ExtChecksum.crc32c(geometry.checksumSeed, bits[..<covered])
    return sum & descriptor.checksumMask == descriptor.bitmapChecksum
  }

  /// What the kernel would write for a group that was never used (ext4_init_block_bitmap): the blocks that lead it, and
  /// its own structures where they lie in it.
  private func initialBitmap(ofGroup group: UInt64, _ descriptor: ExtGroupDescriptor) -> [UInt8] {
    var bits = [UInt8](repeating: 0, count: Int(geometry.blockSize))
    let blocks = geometry.blocks(ofGroup: group)
    let leading = (first: blocks.lowerBound, count: geometry.leadingBlocks(ofGroup: group))
    for (first, count) in [leading] + descriptor.structures(geometry) {
      let lower = max(first, blocks.lowerBound)
      let upper = min(first + count, blocks.upperBound)
      guard lower < upper else { continue }
      UsedBits.set(geometry.clusters(of: lower..<upper, inGroup: group), in: &bits)
    }
    return bits
  }
}

extension ExtGeometry {
  /// The bits of a group that stand for some of its blocks (not none).
  func clusters(of blocks: Range<UInt64>, inGroup group: UInt64) -> Range<Int> {
    let first = firstBlock(ofGroup: group)
    let lower = (blocks.lowerBound - first) / blocksPerCluster
    let upper = (blocks.upperBound - 1 - first) / blocksPerCluster + 1
    return Int(lower)..<Int(upper)
  }
}
