import Storage

/// The block table as a whole: each entry by itself, and all of them against one another and the file.
extension VHDXImage {
  /// What is carried along while the table is looked through.
  private struct Look {
    var used: SpaceUse
    let fileSize: UInt64
    /// Partly present blocks of the chunk that is being looked through.
    var partlyPresent: UInt64 = 0
  }

  func validateBlockTable(_ overlay: LogOverlay?, _ findings: inout ImageFindings) throws(ImageError) {
    let fileSize = tables.withLock { $0.wholeFileSize }
    guard fileSize <= VHDXFormat.largestWrittenFile else {
      findings.add(
        .remark, "the file is longer than 256 TiB; whether its blocks share room was not looked for")
      return
    }
    var look = Look(used: SpaceUse(fileSize: fileSize), fileSize: fileSize)
    for range in structures where !look.used.add(range) {
      findings.add(.damage, at: range.lowerBound, "headers, log and regions share room")
    }
    let buffer = ByteStore(1 << 16)
    let perBuffer = UInt64(buffer.bytes.count / 8)
    var index: UInt64 = 0
    while index < geometry.entries {
      let count = min(perBuffer, geometry.entries - index)
      try readReplayed(
        overlay, UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<Int(count * 8)]),
        at: regions.blockTable.offset + index * 8)
      for number in 0..<count {
        let entry = BlockTableEntry(rawValue: buffer.readable.littleEndian(at: Int(number * 8)))
        examine(entry, index + number, &look, &findings)
      }
      index += count
    }
    // What is left of the region belongs to no block.
    while index < regions.blockTable.length / 8 {
      let count = min(perBuffer, regions.blockTable.length / 8 - index)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<Int(count * 8)])
      try readReplayed(overlay, part, at: regions.blockTable.offset + index * 8)
      if !UnsafeRawBufferPointer(part).isAllZero {
        findings.add(
          .remark, at: regions.blockTable.offset + index * 8, "entries behind the disk's end are not zero")
      }
      index += count
    }
  }

  private func examine(
    _ entry: BlockTableEntry, _ index: UInt64, _ look: inout Look, _ findings: inout ImageFindings
  ) {
    let place = regions.blockTable.offset + index * 8
    if entry.rawValue != 0, entry.reservedBits != 0 {
      findings.add(.damage, at: place, "the block table's entry \(index) has reserved bits set")
    }
    if geometry.isBitmap(index: index) {
      examineBitmap(entry, index, place, &look, &findings)
    } else {
      examinePayload(entry, index, place, &look, &findings)
    }
  }

  /// 2.5.1.2: present where a block of the chunk is partly present, and in differencing files only.
  private func examineBitmap(
    _ entry: BlockTableEntry, _ index: UInt64, _ place: UInt64, _ look: inout Look,
    _ findings: inout ImageFindings
  ) {
    let chunk = index / (geometry.chunkRatio + 1)
    defer { look.partlyPresent = 0 }
    switch entry.state {
    case .notPresent:
      if look.partlyPresent > 0 {
        findings.add(
          .damage, at: place,
          "chunk \(chunk) has \(look.partlyPresent) partly present blocks, but its sector bitmap is not present"
        )
      }
    case .fullyPresent:
      if !isDifferencing {
        findings.add(.remark, at: place, "a file without a parent has a sector bitmap")
      }
      claim(
        entry, VHDXFormat.mebibyte, needed: VHDXFormat.mebibyte, "the sector bitmap of chunk \(chunk)", place,
        &look, &findings)
    default:
      findings.add(
        .damage, at: place,
        "the sector bitmap of chunk \(chunk) is in the reserved state \(entry.state.rawValue)")
    }
  }

  /// 2.5.1.1.
  private func examinePayload(
    _ entry: BlockTableEntry, _ index: UInt64, _ place: UInt64, _ look: inout Look,
    _ findings: inout ImageFindings
  ) {
    let block = index - index / (geometry.chunkRatio + 1)
    guard block < geometry.payloadBlocks else {
      if entry.rawValue != 0 {
        findings.add(.remark, at: place, "an entry behind the disk's end is not zero")
      }
      return
    }
    switch entry.state {
    case .notPresent: break
    case .zero:
      if entry.offset != 0 {
        findings.add(.remark, at: place, "block \(block) is zero, but has a place; Hyper-V refuses that")
      }
    case .undefined, .unmapped:
      // A soft anchor, which must not be another's room.
      guard entry.offset != 0, entry.offset <= VHDXFormat.maximumFileOffset else { return }
      let room = entry.offset..<(entry.offset + blockSize)
      guard isAnchorPossible(room, below: look.fileSize) else { return }
      if !look.used.add(room) {
        findings.add(.damage, at: place, "the room that unmapped block \(block) kept is another's too")
      }
    case .fullyPresent, .partiallyPresent:
      if entry.state == .partiallyPresent {
        if isDifferencing {
          look.partlyPresent += 1
        } else {
          findings.add(.damage, at: place, "block \(block) is partly present, but the file has no parent")
        }
      }
      // Some writers leave the last block of a disk as short as the disk.
      claim(
        entry, blockSize, needed: geometry.blockLength(block), "block \(block)", place, &look, &findings)
    default:
      findings.add(.damage, at: place, "block \(block) is in the reserved state \(entry.state.rawValue)")
    }
  }

  private func claim(
    _ entry: BlockTableEntry, _ length: UInt64, needed: UInt64, _ what: String, _ place: UInt64,
    _ look: inout Look, _ findings: inout ImageFindings
  ) {
    guard entry.offset >= VHDXFormat.headerSectionSize, entry.offset <= VHDXFormat.maximumFileOffset else {
      findings.add(.damage, at: place, "\(what) is said to lie at \(entry.offset), where no block can be")
      return
    }
    guard entry.offset + needed <= look.fileSize else {
      findings.add(
        .damage, at: place,
        "\(what) at \(entry.offset) reaches beyond the end of the file, which has \(look.fileSize) bytes")
      return
    }
    if !look.used.add(entry.offset..<(entry.offset + length)) {
      findings.add(
        .damage, at: place,
        "\(what) at \(entry.offset) shares its room with another or with the file's tables")
    }
  }
}
