/// The superblock of ext2, ext3 or ext4: 1024 bytes at 1024 (struct ext4_super_block, fs/ext4/ext4.h). Copies of it
/// are not asked: a volume whose first superblock is damaged wants a repair before anything else.
struct ExtSuperblock: Sendable {
  static let offset: UInt64 = 1024
  static let length = 1024

  let bytes: [UInt8]
  let features: ExtFeatures

  static func hasMark(_ bytes: [UInt8]) -> Bool {
    bytes.count >= 1082 && bytes.little(UInt16.self, at: 1024 + 0x38) == 0xEF53
  }

  /// `bytes` are the 1024 of the superblock.
  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    features = ExtFeatures(
      compatible: bytes.little(at: 0x5C), incompatible: bytes.little(at: 0x60),
      readOnlyCompatible: bytes.little(at: 0x64))
  }

  /// More than the mark's two bytes speak for a superblock, though it may be damaged.
  var isPlausible: Bool {
    bytes.little(UInt32.self, at: 0x18) <= 6 && bytes.little(UInt32.self, at: 0x14) <= 1
      && bytes.little(UInt32.self, at: 0x20) > 0 && bytes.little(UInt32.self, at: 0x28) > 0
      && bytes.little(UInt32.self, at: 0x4C) <= 1
  }

  /// By the features, as blkid tells them apart.
  var fileSystem: GuestFileSystem {
    let beyond3 =
      features.incompatible & ~(0x2 | 0x4 | 0x10) | features.readOnlyCompatible & ~(0x1 | 0x2 | 0x4)
    if beyond3 != 0 { return .ext4 }
    return features.has(compatible: ExtFeatures.hasJournal) ? .ext3 : .ext2
  }

  /// What each checksum of this volume begins with.
  var checksumSeed: UInt32 {
    features.has(incompatible: ExtFeatures.checksumSeed)
      ? bytes.little(at: 0x270) : ExtChecksum.crc32c(~0, bytes[0x68..<0x78])
  }

  var uuid: ArraySlice<UInt8> { bytes[0x68..<0x78] }

  /// That the superblock is whole and understood; what it says may still be wrong.
  func check() throws(SurveyStop) {
    let revision: UInt32 = bytes.little(at: 0x4C)
    guard revision <= 1 else { throw .unsupported("ext of the unknown revision \(revision)") }
    if features.has(incompatible: ExtFeatures.journalDevice) {
      throw .unsupported("the journal of an ext file system that lies elsewhere")
    }
    if let unknown = features.unknown { throw .unsupported("ext with an unknown feature (\(unknown))") }
    if revision == 0, features != ExtFeatures(compatible: 0, incompatible: 0, readOnlyCompatible: 0) {
      throw .damaged("the superblock has features that its revision does not know")
    }
    if features.has(readOnly: ExtFeatures.metadataChecksums) {
      guard bytes[0x175] == 1 else { throw .unsupported("ext with an unknown kind of checksums") }
      guard !features.has(readOnly: ExtFeatures.groupChecksums) else {
        throw .damaged("the superblock asks for two kinds of group checksums")
      }
      guard ExtChecksum.crc32c(~0, bytes[..<0x3FC]) == bytes.little(UInt32.self, at: 0x3FC) else {
        throw .damaged("the superblock's checksum is wrong")
      }
    } else if features.has(incompatible: ExtFeatures.checksumSeed) {
      throw .damaged("the superblock has a checksum seed but no checksums")
    }
  }

  /// That the volume was closed: the bitmaps are what its owner would go on with.
  func checkClosed() throws(SurveyStop) {
    if features.has(incompatible: ExtFeatures.needsRecovery) { throw .dirty("its journal is to be replayed") }
    let state: UInt16 = bytes.little(at: 0x3A)
    if state & 2 != 0 || bytes.little(UInt32.self, at: 0x194) != 0 { throw .dirty("errors were found in it") }
    if state & 1 == 0 { throw .dirty("it was not unmounted") }
    if state & 4 != 0 || bytes.little(UInt32.self, at: 0xE8) != 0
      || features.has(readOnly: ExtFeatures.orphansPresent)
    {
      throw .dirty("files that were deleted while open are to be cleaned up")
    }
  }
}
