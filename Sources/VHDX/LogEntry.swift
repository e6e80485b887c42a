import Storage

/// The header of a log entry (2.3.1.1): 64 bytes at the start of its first sector.
struct LogEntryHeader {
  static let size = 64
  /// Descriptors of 32 bytes that fit behind the header in the first sector, and in each further sector.
  static let descriptorsInFirstSector = 126
  static let descriptorsPerSector = 128

  var checksum: UInt32 = 0
  /// Bytes, a multiple of 4096.
  var entryLength: UInt32
  /// Place in the log of the oldest entry of the sequence that ends here.
  var tail: UInt32
  /// At least 1; each entry's is one more than the one's before it.
  var sequenceNumber: UInt64
  var descriptorCount: UInt32
  /// Must be the header's.
  var logGUID: GUID
  /// A size that the file was known to have on stable storage: a smaller file was cut.
  var flushedFileOffset: UInt64
  /// A size that holds all structures of the file.
  var lastFileOffset: UInt64

  /// Nil when the signature is missing or a number cannot be right in a log of `logLength` bytes.
  init?(_ bytes: UnsafeRawBufferPointer, logLength: UInt64, logGUID: GUID) {
    guard bytes.littleEndian(UInt32.self, at: 0) == VHDXFormat.Signature.logEntry else { return nil }
    checksum = bytes.littleEndian(at: 4)
    entryLength = bytes.littleEndian(at: 8)
    tail = bytes.littleEndian(at: 12)
    sequenceNumber = bytes.littleEndian(at: 16)
    descriptorCount = bytes.littleEndian(at: 24)
    self.logGUID = GUID(bytes, at: 32)
    flushedFileOffset = bytes.littleEndian(at: 48)
    lastFileOffset = bytes.littleEndian(at: 56)
    guard self.logGUID == logGUID, sequenceNumber > 0, entryLength > 0, entryLength % 4096 == 0,
      UInt64(entryLength) <= logLength, tail % 4096 == 0, UInt64(tail) < logLength,
      UInt64(descriptorSectors) * 4096 <= UInt64(entryLength),
      flushedFileOffset % VHDXFormat.mebibyte == 0, lastFileOffset % VHDXFormat.mebibyte == 0
    else { return nil }
  }

  init(
    entryLength: UInt32, tail: UInt32, sequenceNumber: UInt64, descriptorCount: UInt32, logGUID: GUID,
    flushedFileOffset: UInt64, lastFileOffset: UInt64
  ) {
    self.entryLength = entryLength
    self.tail = tail
    self.sequenceNumber = sequenceNumber
    self.descriptorCount = descriptorCount
    self.logGUID = logGUID
    self.flushedFileOffset = flushedFileOffset
    self.lastFileOffset = lastFileOffset
  }

  /// Sectors that header and descriptors take.
  var descriptorSectors: UInt32 {
    let (more, _) = descriptorCount.subtractingReportingOverflow(
      UInt32(LogEntryHeader.descriptorsInFirstSector))
    guard descriptorCount > UInt32(LogEntryHeader.descriptorsInFirstSector) else { return 1 }
    return 1 + (more - 1) / UInt32(LogEntryHeader.descriptorsPerSector) + 1
  }

  /// Where descriptor `index` begins, from the entry's start.
  static func descriptorOffset(_ index: Int) -> Int { size + index * LogDescriptor.size }

  /// Everything but the checksum, which covers the whole entry.
  func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.storeLittleEndian(VHDXFormat.Signature.logEntry, at: 0)
    bytes.storeLittleEndian(UInt32(0), at: 4)
    bytes.storeLittleEndian(entryLength, at: 8)
    bytes.storeLittleEndian(tail, at: 12)
    bytes.storeLittleEndian(sequenceNumber, at: 16)
    bytes.storeLittleEndian(descriptorCount, at: 24)
    bytes.storeLittleEndian(UInt32(0), at: 28)
    bytes.store(logGUID, at: 32)
    bytes.storeLittleEndian(flushedFileOffset, at: 48)
    bytes.storeLittleEndian(lastFileOffset, at: 56)
  }
}

/// One change that a log entry holds (2.3.1.2, 2.3.1.3).
struct LogDescriptor {
  static let size = 32

  enum Kind {
    /// `length` bytes become zero.
    case zero(length: UInt64)
    /// A page: its first 8 and last 4 bytes are here, the rest is in the entry's next data sector.
    case data(leading: UInt64, trailing: UInt32)
  }

  var kind: Kind
  /// Where in the file; a multiple of 4096.
  var fileOffset: UInt64
  /// Must be the entry's.
  var sequenceNumber: UInt64

  /// Nil when it is neither kind or a number is not a multiple of 4096.
  init?(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    fileOffset = bytes.littleEndian(at: offset + 16)
    sequenceNumber = bytes.littleEndian(at: offset + 24)
    switch bytes.littleEndian(UInt32.self, at: offset) {
    case VHDXFormat.Signature.zeroDescriptor:
      let length = bytes.littleEndian(UInt64.self, at: offset + 8)
      guard length % 4096 == 0 else { return nil }
      kind = .zero(length: length)
    case VHDXFormat.Signature.dataDescriptor:
      kind = .data(leading: bytes.littleEndian(at: offset + 8), trailing: bytes.littleEndian(at: offset + 4))
    default: return nil
    }
    guard fileOffset % 4096 == 0 else { return nil }
  }
}
