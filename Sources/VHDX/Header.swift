import Storage

/// One of the two headers (2.2.2): the only metadata that is written in place, alternately, so that one is whole at
/// every moment.
struct Header: Equatable {
  static let size = 4096

  /// The header with the greater number is the current one.
  var sequenceNumber: UInt64
  /// Identity of the file's bytes; renewed before the first change of any of them in a session.
  var fileWriteGUID: GUID
  /// Identity of what a reader of the disk sees; what children remember of their parent.
  var dataWriteGUID: GUID
  /// Zero: there is no log to replay. Otherwise only entries with this GUID count.
  var logGUID: GUID
  /// 0; another value is bearable only when there is no log to replay.
  var logVersion: UInt16
  /// 1.
  var version: UInt16
  /// Bytes, a multiple of 1 MiB.
  var logLength: UInt32
  /// Bytes from the file's start, a multiple of 1 MiB.
  var logOffset: UInt64

  /// Nil when signature or checksum are wrong.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count == Header.size, bytes.littleEndian(UInt32.self, at: 0) == VHDXFormat.Signature.header,
      bytes.littleEndian(UInt32.self, at: 4) == Checksum.of(bytes, zeroingFieldAt: 4)
    else { return nil }
    sequenceNumber = bytes.littleEndian(at: 8)
    fileWriteGUID = GUID(bytes, at: 16)
    dataWriteGUID = GUID(bytes, at: 32)
    logGUID = GUID(bytes, at: 48)
    logVersion = bytes.littleEndian(at: 64)
    version = bytes.littleEndian(at: 66)
    logLength = bytes.littleEndian(at: 68)
    logOffset = bytes.littleEndian(at: 72)
  }

  /// A new file's first header.
  init(fileWriteGUID: GUID, dataWriteGUID: GUID, logLength: UInt32, logOffset: UInt64) {
    sequenceNumber = 1
    self.fileWriteGUID = fileWriteGUID
    self.dataWriteGUID = dataWriteGUID
    logGUID = .zero
    logVersion = 0
    version = 1
    self.logLength = logLength
    self.logOffset = logOffset
  }

  /// Fills a buffer of `Header.size` bytes.
  func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    bytes.storeLittleEndian(VHDXFormat.Signature.header, at: 0)
    bytes.storeLittleEndian(sequenceNumber, at: 8)
    bytes.store(fileWriteGUID, at: 16)
    bytes.store(dataWriteGUID, at: 32)
    bytes.store(logGUID, at: 48)
    bytes.storeLittleEndian(logVersion, at: 64)
    bytes.storeLittleEndian(version, at: 66)
    bytes.storeLittleEndian(logLength, at: 68)
    bytes.storeLittleEndian(logOffset, at: 72)
    bytes.storeLittleEndian(Checksum.of(UnsafeRawBufferPointer(bytes), zeroingFieldAt: 4), at: 4)
  }
}

/// The current header, and which slot holds it.
struct CurrentHeader {
  var header: Header
  /// 0 or 1; the next update goes to the other.
  var slot: Int

  /// Reads both slots and chooses (2.2.2): the valid one; of two the one with the greater number; of two equal
  /// numbers either, if the headers are the same byte for byte (Disk2VHD writes that), else neither can be trusted.
  init(_ file: HostFile) throws(ImageError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * Header.size, alignment: 4096)
    defer { buffer.deallocate() }
    buffer.initializeMemory(as: UInt8.self, repeating: 0)
    var found: [Header?] = []
    for slot in 0..<2 {
      let part = UnsafeMutableRawBufferPointer(
        rebasing: buffer[(slot * Header.size)..<((slot + 1) * Header.size)])
      let count = try file.readUpTo(part, at: VHDXFormat.headerOffsets[slot])
      found.append(count == Header.size ? Header(UnsafeRawBufferPointer(part)) : nil)
    }
    switch (found[0], found[1]) {
    case (nil, nil):
      throw .damaged(
        file.path, at: VHDXFormat.headerOffsets[0],
        "both headers are damaged (signature or checksum); the file cannot be used without a copy of one of them"
      )
    case (let first?, nil):
      (header, slot) = (first, 0)
    case (nil, let second?):
      (header, slot) = (second, 1)
    case (let first?, let second?):
      guard first.sequenceNumber != second.sequenceNumber || first == second else {
        throw .damaged(
          file.path, at: VHDXFormat.headerOffsets[0],
          "both headers carry the sequence number \(first.sequenceNumber) but differ; which one counts cannot be told"
        )
      }
      (header, slot) = first.sequenceNumber >= second.sequenceNumber ? (first, 0) : (second, 1)
    }
    guard header.version == 1 else {
      throw ImageError(
        .notSupported, "\(escaped(file.path)): is of VHDX version \(header.version); only version 1 is known")
    }
  }

  /// Makes `change` durable: writes the other slot with the next number, and flushes with `flush`, which knows what a
  /// failed flush means.
  ///
  /// The flush comes before anything that relies on the new header; the old one stays whole until then. A failed write
  /// may have left the other slot in any state; the next update writes that one again.
  mutating func update(
    _ file: HostFile, flush: () throws(ImageError) -> Void, _ change: (inout Header) -> Void
  ) throws(ImageError) {
    var next = header
    change(&next)
    let (number, overflow) = header.sequenceNumber.addingReportingOverflow(1)
    guard !overflow else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): the header's sequence number cannot grow any more; copy the disk to a new image"
      )
    }
    next.sequenceNumber = number
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Header.size, alignment: 4096)
    defer { buffer.deallocate() }
    next.encode(into: buffer)
    try file.write(UnsafeRawBufferPointer(buffer), at: VHDXFormat.headerOffsets[1 - slot])
    // What relies on this header comes after it; the old one is whole until here.
    try flush()
    header = next
    slot = 1 - slot
  }
}
