import Storage

/// What a log that has not been replayed says of the file: an overlay that is consulted by every read.
///
/// It keeps places and not contents: intervals of the file, ascending and disjoint, that read as zero or as a page
/// in the log. Later changes have won over earlier ones already. Immutable.
struct LogOverlay {
  struct Interval {
    var start: UInt64
    var end: UInt64
    /// For a page: the place in the file of the log's data sector, and the page's first 8 and last 4 bytes, which
    /// that sector does not hold. Nil: zeros.
    var page: Page?
  }

  struct Page {
    var sector: UInt64
    var leading: UInt64
    var trailing: UInt32
  }

  let intervals: [Interval]
  /// The file counts as at least this long once the log is replayed.
  let lastFileOffset: UInt64

  /// Collects what the sequence changes and checks each place: behind the file type identifier and the headers, and
  /// not in the log itself.
  init(
    _ sequence: [LogScanner.Entry], scanner: LogScanner, protecting log: Range<UInt64>
  ) throws(ImageError) {
    let file = scanner.file
    var changes: [Interval] = []
    var lastFileOffset: UInt64 = 0
    let sector = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { sector.deallocate() }
    for entry in sequence {
      lastFileOffset = max(lastFileOffset, entry.header.lastFileOffset)
      let descriptorSectors = UInt64(entry.header.descriptorSectors)
      var dataSectors: UInt64 = 0
      var loaded = -1
      for number in 0..<Int(entry.header.descriptorCount) {
        let at = LogEntryHeader.descriptorOffset(number)
        if at / 4096 != loaded {
          loaded = at / 4096
          try scanner.readLog(into: sector, at: (entry.position + UInt64(loaded) * 4096) % scanner.logLength)
        }
        guard let descriptor = LogDescriptor(UnsafeRawBufferPointer(sector), at: at % 4096) else {
          throw .damaged(file.path, at: scanner.logOffset, "the log changed while it was read")
        }
        var length: UInt64 = 4096
        var page: Page?
        switch descriptor.kind {
        case .zero(let zeros): length = zeros
        case .data(let leading, let trailing):
          let position = (entry.position + (descriptorSectors + dataSectors) * 4096) % scanner.logLength
          page = Page(sector: scanner.logOffset + position, leading: leading, trailing: trailing)
          dataSectors += 1
        }
        let (end, overflow) = descriptor.fileOffset.addingReportingOverflow(length)
        guard !overflow, end <= VHDXFormat.maximumFileOffset,
          descriptor.fileOffset >= VHDXFormat.regionTableOffsets[0],
          !(descriptor.fileOffset..<end).overlaps(log)
        else {
          throw .damaged(
            file.path, at: scanner.logOffset + entry.position,
            "the log would change \(length) bytes at offset \(descriptor.fileOffset), which no log may touch")
        }
        if length > 0 { changes.append(Interval(start: descriptor.fileOffset, end: end, page: page)) }
      }
    }
    intervals = LogOverlay.latest(changes)
    self.lastFileOffset = max(lastFileOffset, intervals.last?.end ?? 0)
  }

  /// Cuts changes that may overlap, oldest first, into disjoint intervals, ascending, of which each is the latest
  /// change of its bytes. A sweep over starts and ends with the open changes in a heap: n log n.
  static func latest(_ changes: [Interval]) -> [Interval] {
    let order = changes.indices.sorted { changes[$0].start < changes[$1].start }
    var edges: [UInt64] = []
    edges.reserveCapacity(2 * changes.count)
    for change in changes { edges += [change.start, change.end] }
    edges.sort()
    var result: [Interval] = []
    var open = MaximumHeap()
    var next = 0
    for (index, edge) in edges.enumerated() where index + 1 < edges.count && edge < edges[index + 1] {
      while next < order.count, changes[order[next]].start <= edge {
        open.insert(order[next])
        next += 1
      }
      while let latest = open.maximum, changes[latest].end <= edge { open.removeMaximum() }
      guard let latest = open.maximum else { continue }
      let end = edges[index + 1]
      // Zero ranges join; a page stays whole, because changes count in pages.
      if changes[latest].page == nil, let last = result.last, last.page == nil, last.end == edge {
        result[result.count - 1].end = end
      } else {
        result.append(Interval(start: edge, end: end, page: changes[latest].page))
      }
    }
    return result
  }

  /// The first interval that ends behind `offset`, if any.
  func firstInterval(endingAfter offset: UInt64) -> Int? {
    var low = 0
    var high = intervals.count
    while low < high {
      let middle = (low + high) / 2
      if intervals[middle].end > offset { high = middle } else { low = middle + 1 }
    }
    return low < intervals.count ? low : nil
  }

  /// Fills `buffer` with what the file at `offset` will hold once the log is replayed.
  func read(_ file: HostFile, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64)
    throws(ImageError)
  {
    let count = try file.readUpTo(buffer, at: offset)
    let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[count...])
    guard rest.isEmpty || offset + UInt64(buffer.count) <= lastFileOffset else {
      throw .damaged(
        file.path, at: offset, "the file ends before the \(buffer.count) bytes that should be here")
    }
    rest.clear()
    let end = offset + UInt64(buffer.count)
    guard var index = firstInterval(endingAfter: offset) else { return }
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
    defer { page.deallocate() }
    while index < intervals.count, intervals[index].start < end {
      let interval = intervals[index]
      let from = max(interval.start, offset)
      let to = min(interval.end, end)
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[Int(from - offset)..<Int(to - offset)])
      if let source = interval.page {
        try LogOverlay.load(source, file, into: page)
        let within = Int(from - interval.start)
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: page[within..<(within + target.count)]))
      } else {
        target.clear()
      }
      index += 1
    }
  }

  /// Puts a page of 4096 bytes together from its data sector and its descriptor (2.3.1.4).
  static func load(_ source: Page, _ file: HostFile, into page: UnsafeMutableRawBufferPointer)
    throws(ImageError)
  {
    try file.read(into: page, at: source.sector)
    page.storeLittleEndian(source.leading, at: 0)
    page.storeLittleEndian(source.trailing, at: 4092)
  }
}

/// A heap of numbers with the greatest on top.
private struct MaximumHeap {
  private var items: [Int] = []
  var maximum: Int? { items.first }

  mutating func insert(_ item: Int) {
    items.append(item)
    var child = items.count - 1
    while child > 0, items[(child - 1) / 2] < items[child] {
      items.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func removeMaximum() {
    items.swapAt(0, items.count - 1)
    items.removeLast()
    var parent = 0
    while true {
      var greatest = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < items.count && items[child] > items[greatest] {
        greatest = child
      }
      guard greatest != parent else { return }
      items.swapAt(parent, greatest)
      parent = greatest
    }
  }
}
