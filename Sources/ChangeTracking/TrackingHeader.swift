import Storage

/// The header of a tracking file: whose it is, how the last session ended, and where the catalogue is.
///
///      0 signature 8 │   8 version 4 │  12 checksum 4 │  16 sequence 8  │ 24 state 4 │ 28 has write ids 4
///     32 disk size 8 │  40 history 16│  56 boot id 16 │  72 device 8    │ 80 inode 8 │ 88 ids before 32
///    120 ids after 32│ 152 file size 8│ 160 modified 8│ 168 interval 4 │ 172 catalogue 4 │ 176 points 4
///    180 catalogue checksum 4 │ 184 blocks of the open interval 4 │ 188 chunks 4 │ 192 region shift 4
///    200 other disk size 8
struct TrackingHeader: Equatable, Sendable {
  enum State: UInt32, Sendable {
    case off = 0
    /// The image was closed, and has not been changed by us since.
    case clean = 1
    /// The image may have been changed since the header was written.
    case open = 2
    /// Changes could not be recorded: nothing here counts.
    case invalid = 3
  }

  var sequence: UInt64 = 1
  var state = State.clean
  var diskSize: UInt64
  /// Which history this is; every block names it, so that none of another is taken for one of this.
  var history: GUID
  var boot = GUID.zero
  var identity = FileIdentity(device: 0, inode: 0)
  var hasWriteIdentity = false
  /// `open`: the write ids that the image had; `clean`: those that it has.
  var before = ImageState.WriteIdentity.none
  /// `open`: those that the session was going to give it.
  var after = ImageState.WriteIdentity.none
  /// `clean`: the file as the session left it.
  var fileSize: UInt64 = 0
  var modified: Int64 = 0
  /// The interval that changes now are recorded in; from 1 on.
  var interval: UInt32 = 1
  /// Which of the two catalogues counts.
  var catalogue: UInt32 = 0
  var pointCount: UInt32 = 0
  var catalogueChecksum: UInt32 = 0
  /// `clean`: how many places of the disk have a block in the open interval, so that a lost one is noticed.
  var openBlocks: UInt32 = 0
  /// The file is at least so many chunks long; a shorter one was cut.
  var chunks: UInt32 = 1
  /// Bytes of a region as a power of two.
  var regionShift: UInt64
  /// A smaller size that the disk may have, because the session is about to change it; 0: none.
  var otherDiskSize: UInt64 = 0

  /// Nil when signature or checksum are wrong; `isNewer` tells a later version from damage.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.littleEndian(UInt64.self, at: 0) == TrackingFormat.signature,
      bytes.littleEndian(UInt32.self, at: 8) == TrackingFormat.version,
      bytes.littleEndian(UInt32.self, at: 12) == Checksum.of(bytes, zeroingFieldAt: 12),
      let state = State(rawValue: bytes.littleEndian(at: 24))
    else { return nil }
    self.state = state
    sequence = bytes.littleEndian(at: 16)
    hasWriteIdentity = bytes.littleEndian(UInt32.self, at: 28) != 0
    diskSize = bytes.littleEndian(at: 32)
    history = GUID(bytes, at: 40)
    boot = GUID(bytes, at: 56)
    identity = FileIdentity(device: bytes.littleEndian(at: 72), inode: bytes.littleEndian(at: 80))
    before = .init(fileWriteGUID: GUID(bytes, at: 88), dataWriteGUID: GUID(bytes, at: 104))
    after = .init(fileWriteGUID: GUID(bytes, at: 120), dataWriteGUID: GUID(bytes, at: 136))
    fileSize = bytes.littleEndian(at: 152)
    modified = bytes.littleEndian(at: 160)
    interval = bytes.littleEndian(at: 168)
    catalogue = bytes.littleEndian(at: 172)
    pointCount = bytes.littleEndian(at: 176)
    catalogueChecksum = bytes.littleEndian(at: 180)
    openBlocks = bytes.littleEndian(at: 184)
    chunks = bytes.littleEndian(at: 188)
    regionShift = UInt64(bytes.littleEndian(UInt32.self, at: 192))
    otherDiskSize = bytes.littleEndian(at: 200)
    guard interval > 0, interval < 1 << 24, catalogue < 2, pointCount <= TrackingFormat.mostPoints,
      chunks <= TrackingFormat.mostChunks, (1...TrackingFormat.largestDisk).contains(diskSize),
      sequence < UInt64.max - (1 << 32), TrackingFormat.regionShifts.contains(regionShift),
      TrackingFormat.regionCount(diskSize: diskSize, shift: regionShift) <= TrackingFormat.mostRegions,
      otherDiskSize <= diskSize
    else { return nil }
  }

  init(history: GUID, diskSize: UInt64) {
    self.history = history
    self.diskSize = diskSize
    regionShift = TrackingFormat.regionShift(diskSize: diskSize)
  }

  /// Fills `bytes` (a page).
  func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    bytes.storeLittleEndian(TrackingFormat.signature, at: 0)
    bytes.storeLittleEndian(TrackingFormat.version, at: 8)
    bytes.storeLittleEndian(sequence, at: 16)
    bytes.storeLittleEndian(state.rawValue, at: 24)
    bytes.storeLittleEndian(UInt32(hasWriteIdentity ? 1 : 0), at: 28)
    bytes.storeLittleEndian(diskSize, at: 32)
    bytes.store(history, at: 40)
    bytes.store(boot, at: 56)
    bytes.storeLittleEndian(identity.device, at: 72)
    bytes.storeLittleEndian(identity.inode, at: 80)
    bytes.store(before.fileWriteGUID, at: 88)
    bytes.store(before.dataWriteGUID, at: 104)
    bytes.store(after.fileWriteGUID, at: 120)
    bytes.store(after.dataWriteGUID, at: 136)
    bytes.storeLittleEndian(fileSize, at: 152)
    bytes.storeLittleEndian(modified, at: 160)
    bytes.storeLittleEndian(interval, at: 168)
    bytes.storeLittleEndian(catalogue, at: 172)
    bytes.storeLittleEndian(pointCount, at: 176)
    bytes.storeLittleEndian(catalogueChecksum, at: 180)
    bytes.storeLittleEndian(openBlocks, at: 184)
    bytes.storeLittleEndian(chunks, at: 188)
    bytes.storeLittleEndian(UInt32(regionShift), at: 192)
    bytes.storeLittleEndian(otherDiskSize, at: 200)
    bytes.storeLittleEndian(Checksum.of(UnsafeRawBufferPointer(bytes), zeroingFieldAt: 12), at: 12)
  }

  /// Whether a page is the header of a version that is not known here.
  static func isOtherVersion(_ bytes: UnsafeRawBufferPointer) -> UInt32? {
    guard bytes.littleEndian(UInt64.self, at: 0) == TrackingFormat.signature else { return nil }
    let version = bytes.littleEndian(UInt32.self, at: 8)
    return version > TrackingFormat.version ? version : nil
  }
}
