import Storage

/// Looking at everything that the format says of itself.
extension VHDImage {
  /// Examines footers, dynamic header and the whole block table; changes nothing. For an image that is not being
  /// written.
  ///
  /// After a stop in the middle of a change the footer at the end may be missing or half-written, or lie before the
  /// file's end: while room is made the old one is overwritten once the new one is durable, and the size may be lost.
  /// The copy at the beginning is good all the time then, and everything else is too. After a clean close the footer
  /// ends the file, and is the same as its copy.
  ///
  /// Memory: eight bytes for each block that has room, at most 64 MiB. Errors: the system's; what is wrong with the
  /// file's contents is a finding. (No good footer at all, or a damaged dynamic header, is refused when the file is
  /// opened.)
  public func validate() throws(ImageError) -> ImageFindings {
    var findings = ImageFindings()
    try validateFooters(&findings)
    guard let blocks else {
      if search.tailOffset > virtualSize {
        findings.add(
          .remark, at: virtualSize,
          "\(search.tailOffset - virtualSize) bytes between the disk's end and the footer")
      }
      return findings
    }
    let layout = blocks.layout
    guard layout.blockCount <= TableScan.mostBlocks else {
      findings.add(
        .remark, at: layout.tableOffset, "the blocks are so small that the table was not looked through")
      return findings
    }
    let scan = try TableScan(layout, blocks.state.withLock { $0.bounds }, file)
    if let problem = scan.problem { findings.add(.damage, at: layout.tableOffset, problem.sentence) }
    for block in scan.overlapping {
      findings.add(.damage, at: layout.tableOffset + block * 4, "block \(block) shares its room with another")
    }
    return findings
  }

  private func validateFooters(_ findings: inout ImageFindings) throws(ImageError) {
    switch search.tail {
    case .whole: break
    case .short:
      findings.add(.remark, at: search.tailOffset, "the footer has 511 bytes, as before Virtual PC 2004")
    case .lost:
      findings.add(
        .unfinished, at: search.tailOffset,
        "no footer is at the end of the file; its copy at the beginning is good, and is used")
    }
    guard footer.diskType.hasBlocks else { return }
    switch search.copy {
    case .missing:
      findings.add(.damage, at: 0, "the footer's copy at the beginning is broken; the one at the end is used")
    case .otherDisk:
      findings.add(.damage, at: 0, "the footer and its copy at the beginning speak of different disks")
    case .otherHeader:
      findings.add(
        .unfinished, at: 0,
        "a change of the parent was cut off: the footer and its copy at the beginning name two headers, of which both are "
          + "good; the footer's is used")
    case .same:
      guard search.tail != .lost else { return }
      let copy = ByteBuffer(count: Footer.length)
      try file.read(into: copy.bytes, at: 0)
      if !copy.readable.elementsEqual(search.bytes) {
        findings.add(
          .remark, at: 0, "the footer and its copy at the beginning differ in what they say of the file")
      }
    }
  }
}
