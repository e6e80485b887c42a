import Storage

/// The dynamic disk header (format paper, "Dynamic Disk Header Format"): 1024 bytes, big-endian, of every
/// file that has blocks.
public struct DynamicHeader: Hashable, Sendable {
  /// Bytes.
  public static let length = 1024
  static let checksumField = 36
  static let parentIDField = 40
  static let parentTimeField = 56
  static let nameField = 64
  /// Units of UTF-16.
  static let nameLength = 256
  static let locatorField = 576
  static let locatorCount = 8
  static let cookie: UInt64 = 0x6378_7370_6172_7365  // "cxsparse"

  /// Offset 16, "Table Offset": where the block allocation table begins in the file.
  public var tableOffset: UInt64 = 0
  /// Offset 24, "Header Version": major and minor, 16 bits each.
  public var headerVersion: UInt32 = 0x0001_0000
  /// Offset 28, "Max Table Entries": at least the number of blocks.
  public var maxTableEntries: UInt32 = 0
  /// Offset 32, "Block Size": bytes of disk that a block holds, its bitmap not counted.
  public var blockSize: UInt32 = 0
  /// Offset 40, "Parent Unique ID": the parent's `Footer.uniqueID`.
  public var parentUniqueID: GUID = .zero
  /// Offset 56, "Parent Time Stamp": the parent's modification time, seconds since 2000; 0 is found too.
  public var parentTimeStamp: UInt32 = 0
  /// Offset 64, "Parent Unicode Name": 256 units of UTF-16, big-endian.
  public var parentName = ""
  /// Offset 576, "Parent Locator Entry": eight.
  var locators: [ParentLocator] = []

  /// The header, or nil where cookie or checksum are wrong.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.bigEndian(UInt64.self, at: 0) == DynamicHeader.cookie,
      Checksum.matches(bytes, field: DynamicHeader.checksumField)
    else { return nil }
    tableOffset = bytes.bigEndian(at: 16)
    headerVersion = bytes.bigEndian(at: 24)
    maxTableEntries = bytes.bigEndian(at: 28)
    blockSize = bytes.bigEndian(at: 32)
    parentUniqueID = GUID(bytes, at: DynamicHeader.parentIDField)
    parentTimeStamp = bytes.bigEndian(at: DynamicHeader.parentTimeField)
    let units = (0..<DynamicHeader.nameLength).map {
      bytes.bigEndian(UInt16.self, at: DynamicHeader.nameField + 2 * $0)
    }
    parentName = String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
    locators = (0..<DynamicHeader.locatorCount).map {
      ParentLocator(bytes, at: DynamicHeader.locatorField + $0 * ParentLocator.length)
    }
  }

  init() {}

  /// Writes all 1024 bytes, checksum included; what is reserved is zero.
  func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    bytes.storeBigEndian(DynamicHeader.cookie, at: 0)
    bytes.storeBigEndian(UInt64.max, at: 8)  // "Data Offset": no further header
    bytes.storeBigEndian(tableOffset, at: 16)
    bytes.storeBigEndian(headerVersion, at: 24)
    bytes.storeBigEndian(maxTableEntries, at: 28)
    bytes.storeBigEndian(blockSize, at: 32)
    bytes.store(parentUniqueID, at: DynamicHeader.parentIDField)
    bytes.storeBigEndian(parentTimeStamp, at: DynamicHeader.parentTimeField)
    for (index, unit) in parentName.utf16.prefix(DynamicHeader.nameLength - 1).enumerated() {
      bytes.storeBigEndian(unit, at: DynamicHeader.nameField + 2 * index)
    }
    for (index, locator) in locators.prefix(DynamicHeader.locatorCount).enumerated() {
      locator.encode(into: bytes, at: DynamicHeader.locatorField + index * ParentLocator.length)
    }
    Checksum.store(in: bytes, field: DynamicHeader.checksumField)
  }
}
