import Storage

/// The footer of a file, and the state in which it was found (format paper, "Hard Disk Footer Format": the
/// copy exists for the case that the one at the end is lost).
struct FooterSearch: Sendable {
  enum Tail: Sendable {
    case whole
    /// 511 bytes, as before Virtual PC 2004; the last byte, a reserved one, is not there.
    case short
    /// Missing or broken.
    case lost
  }

  let footer: Footer
  /// The 512 bytes as they were found, for putting them elsewhere unchanged.
  let bytes: [UInt8]
  let tail: Tail
  /// What the copy at the beginning says beside the footer in force.
  let copy: Copy
  let fileSize: UInt64

  enum Copy: Sendable {
    /// None, or a broken one. In a fixed file, which has none, too.
    case missing
    case same
    /// It names another dynamic header than the footer at the end, and both headers are whole and lead to the same block
    /// table: a change of the parent was cut off (see `BlockStore+Reparenting`).
    case otherHeader
    /// It speaks of another disk: its size, type, identity or block table are not the footer's.
    case otherDisk
  }

  /// The copy at the beginning is valid.
  var hasCopy: Bool { copy != .missing }

  /// Where the footer at the end begins; the file's end where it is lost.
  var tailOffset: UInt64 {
    switch tail {
    case .whole: fileSize - 512
    case .short: fileSize - 511
    case .lost: fileSize
    }
  }

  init(_ file: HostFile) throws(ImageError) {
    fileSize = try file.size()
    guard fileSize >= 511 else {
      throw .damaged(
        file.path, "the file has \(fileSize) bytes, fewer than a VHD footer; it is no VHD, or was cut")
    }
    let buffer = ByteBuffer(count: Footer.length)
    var checksumWasWrong = false

    func examine(_ buffer: borrowing ByteBuffer) -> Footer? {
      switch Footer.examine(buffer.readable) {
      case .valid(let footer): return footer
      case .wrongChecksum: checksumWasWrong = true
      case .noCookie: break
      }
      return nil
    }

    var found: Footer?
    var foundBytes: [UInt8] = []
    var foundTail = Tail.lost
    if fileSize >= 512 {
      try file.read(into: buffer.bytes, at: fileSize - 512)
      if let footer = examine(buffer) {
        (found, foundBytes, foundTail) = (footer, Array(buffer.readable), .whole)
      }
    }
    if found == nil && fileSize % 512 == 511 {
      try file.read(into: buffer.slice(0..<511), at: fileSize - 511)
      buffer.bytes[511] = 0
      if let footer = examine(buffer) {
        (found, foundBytes, foundTail) = (footer, Array(buffer.readable), .short)
      }
    }
    var copy: Footer?
    if found?.diskType.hasBlocks ?? true, fileSize >= 1536 {
      try file.read(into: buffer.bytes, at: 0)
      // Only a file with blocks has a copy: what stands at the beginning of another is the disk's own.
      if let footer = examine(buffer), footer.diskType.hasBlocks {
        copy = footer
        if found == nil { (found, foundBytes) = (footer, Array(buffer.readable)) }
      }
    }
    guard let found else {
      throw .damaged(
        file.path,
        checksumWasWrong
          ? "the footer's checksum is wrong, and there is no good copy at the beginning; the file is damaged"
          : "there is no VHD footer at the end of the file and no copy at its beginning; it is no VHD, or "
            + "was cut"
      )
    }
    footer = found
    bytes = foundBytes
    tail = foundTail
    self.copy =
      try copy.map { (copy) throws(ImageError) in try FooterSearch.compare(copy, found, file) } ?? .missing
    try check(file)
  }

  private static func compare(_ copy: Footer, _ footer: Footer, _ file: HostFile) throws(ImageError) -> Copy {
    guard copy.describesSameDisk(as: footer) else { return .otherDisk }
    guard copy.dataOffset != footer.dataOffset else { return .same }
    guard let one = try DynamicHeader(of: copy, in: file),
      let other = try DynamicHeader(of: footer, in: file),
      one.tableOffset == other.tableOffset, one.blockSize == other.blockSize,
      one.maxTableEntries == other.maxTableEntries, one.headerVersion == other.headerVersion
    else { return .otherDisk }
    return .otherHeader
  }

  private func check(_ file: HostFile) throws(ImageError) {
    guard footer.formatVersion >> 16 == 1 else {
      throw ImageError(
        .notSupported,
        "\(escaped(file.path)): VHD version \(footer.formatVersion >> 16) is not known; only 1 is")
    }
    guard footer.diskType.hasBlocks || footer.diskType == .fixed else {
      throw .damaged(
        file.path, at: tailOffset,
        "disk type \(footer.diskType.rawValue) is not fixed (2), dynamic (3) or differencing (4)")
    }
    let size = footer.diskSize
    guard size > 0, size % 512 == 0, size <= UInt64(Int64.max) else {
      throw .damaged(
        file.path, at: tailOffset,
        "the disk's size, \(size) bytes, is not a number of whole sectors of 512 bytes; the footer is damaged"
      )
    }
    if footer.diskType == .fixed && size > tailOffset {
      throw .damaged(
        file.path, at: tailOffset,
        "the footer speaks of \(size) bytes, but only \(tailOffset) are in the file; it was cut: copy it "
          + "again"
      )
    }
  }
}

extension Footer {
  /// Whether both are of one disk, wherever its header is: time stamps and creators may differ.
  fileprivate func describesSameDisk(as other: Footer) -> Bool {
    currentSize == other.currentSize && diskSize == other.diskSize
      && diskType == other.diskType && uniqueID == other.uniqueID
  }
}

extension DynamicHeader {
  /// The header that a footer names; nil where there is no whole one.
  fileprivate init?(of footer: Footer, in file: HostFile) throws(ImageError) {
    let size = try file.size()
    guard footer.dataOffset >= UInt64(Footer.length), footer.dataOffset % 512 == 0, footer.dataOffset <= size,
      UInt64(DynamicHeader.length) <= size - footer.dataOffset
    else { return nil }
    let buffer = ByteBuffer(count: DynamicHeader.length)
    try file.read(into: buffer.bytes, at: footer.dataOffset)
    self.init(buffer.readable)
  }
}
