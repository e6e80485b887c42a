import Storage

/// Makes the record that a merge leaves, from those of the disks that are merged.
///
/// The disk that is merged into comes first, then the others, the topmost last. Their points keep this order, so that
/// changes since a point are, as ever, the union of all intervals from it on:
///
///     points of the first │ what the others hold │ points of the second │ what those above it hold │ … │ open
///
/// The open interval says again what all others hold, for as long as the merge is not done.
public struct MergedRecord {
  /// What a disk above the first holds.
  public struct Held: Sendable {
    /// Bytes of the disk; ascending from call to call, and none twice.
    public var range: Range<UInt64>
    /// Which disk holds it, the first being 0.
    public var level: Int
    public init(_ range: Range<UInt64>, level: Int) {
      self.range = range
      self.level = level
    }
  }

  /// The disk's size when the merge is done.
  private let size: UInt64
  private let levels: [RecordContents?]

  /// - Parameters:
  ///   - trackers: of each disk, where one counts.
  ///   - size: bytes of the disk when the merge is done.
  ///
  /// Errors: why a record that is given does not count.
  public init(_ trackers: [ChangeTracker?], size: UInt64) throws(ImageError) {
    var levels: [RecordContents?] = []
    for tracker in trackers {
      guard let tracker else {
        levels.append(nil)
        continue
      }
      levels.append(try RecordContents(tracker))
    }
    // A merge that was cut off has put the points of the others into the first one's record before.
    for level in levels.indices {
      let later = Set(levels[(level + 1)...].flatMap { $0?.points.map(\.id) ?? [] })
      levels[level]?.points.removeAll { later.contains($0.id) }
    }
    // Of two points of one name the older is given another; ids stay.
    var names: Set<String> = []
    for level in levels.indices.reversed() {
      guard let count = levels[level]?.points.count else { continue }
      for index in 0..<count {
        guard let name = levels[level]?.points[index].name else { continue }
        levels[level]?.points[index].name = MergedRecord.freeName(name, in: &names)
      }
    }
    self.levels = levels
    self.size = size
  }

  /// Whether any disk has a point: else there is nothing to record.
  public var hasPoints: Bool { levels.contains { $0?.points.isEmpty == false } }

  /// How many points come from other disks than the first.
  public var movedPoints: Int { levels.dropFirst().reduce(0) { $0 + ($1?.points.count ?? 0) } }

  private static func freeName(_ name: String, in names: inout Set<String>) -> String {
    var number = 2
    var candidate = name
    while !names.insert(candidate).inserted {
      let ending = "-\(number)"
      candidate = name.prefix(64 - ending.count) + ending
      number += 1
    }
    return candidate
  }

  /// Fills `file`, which is new and empty. Durable when it returns.
  ///
  /// - Parameters:
  ///   - image: the image that is merged into, as it is now.
  ///   - after: the write ids that it is about to get.
  ///   - held: goes through all that the disks above the first hold.
  ///
  /// Errors: damaged records; ENOSPC when there are too many points; the host's.
  public func write(
    _ file: HostFile, for image: ImageState, announcing after: ImageState.WriteIdentity?, boot: GUID,
    regionShift: UInt64? = nil,
    held: ((Held) throws(ImageError) -> Void) throws(ImageError) -> Void
  ) throws(ImageError) {
    // The larger, so that there is a place for whatever is noted.
    var header = TrackingHeader(history: .random(), diskSize: max(size, image.diskSize))
    if let regionShift { header.regionShift = regionShift }
    var points: [ReferencePoint] = []
    var interval: UInt32 = 1
    var writer = RecordWriter(file, header)
    // Of each disk: the interval for what those above it hold.
    var heldIntervals: [Int: UInt32] = [:]
    for (number, level) in levels.enumerated() {
      guard let level, !level.points.isEmpty else { continue }
      let first = interval
      for point in level.points {
        var point = point
        point.firstInterval = interval
        points.append(point)
        interval += 1
      }
      try level.copyBlocks(to: &writer, first: first, extra: interval)
      heldIntervals[number] = interval
      interval += 1
    }
    guard points.count <= TrackingFormat.mostPoints else {
      throw ImageError(
        errno: .noSpace,
        "\(escaped(file.path)): would have \(points.count) points, more than there can be; drop some")
    }
    let open = interval
    let pages = heldIntervals.map { (level: $0.key, pages: HeldPages(interval: $0.value)) }
    let openPages = movedPoints > 0 ? HeldPages(interval: open) : nil
    try held { (held) throws(ImageError) in
      for (level, pages) in pages where level < held.level { try pages.add(held.range, to: &writer) }
      try openPages?.add(held.range, to: &writer)
    }
    for (_, pages) in pages { try pages.finish(&writer) }
    try openPages?.finish(&writer)
    header.interval = open
    header.chunks = try writer.finish()
    let directory = try BlockDirectory(file, chunks: header.chunks, oldest: 1, openInterval: open)
    for index in points.indices.dropLast() {
      points[index].blocks = directory.count(
        in: points[index].firstInterval..<points[index + 1].firstInterval)
    }
    header.state = .open
    header.boot = boot
    header.identity = image.identity
    header.hasWriteIdentity = image.writes != nil
    header.before = image.writes ?? .none
    header.after = after ?? .none
    header.otherDiskSize = image.diskSize == size ? 0 : min(size, image.diskSize)
    try writer.finish(header, points)
  }
}

extension RecordContents {
  /// Copies the blocks of changes under the points' new intervals, which begin with `first`; what is known of whole
  /// regions goes to interval `extra`.
  fileprivate func copyBlocks(to writer: inout RecordWriter, first: UInt32, extra: UInt32) throws(ImageError)
  {
    let page = BitmapBlock()
    var regions = presumed ?? RegionMarks(header)
    for block in blocks {
      guard let place = place(of: block.interval) else { continue }
      let offset = TrackingFormat.blockOffset(block.slot)
      guard try file.readUpTo(page.bytes, at: offset) == TrackingFormat.pageSize,
        BitmapBlock.isWhole(
          UnsafeRawBufferPointer(page.bytes), history: header.history, interval: block.interval,
          index: block.index)
      else { throw TrackingError.damaged(file.path, at: offset, "a block of changes is damaged") }
      let interval = first + UInt32(place)
      if block.index < TrackingFormat.firstCoarseIndex || header.regionShift == writer.header.regionShift {
        try writer.add(page.bytes, index: block.index, interval: interval)
      } else {
        // Regions of another size.
        let base = UInt64(block.index - TrackingFormat.firstCoarseIndex) * TrackingFormat.bitsPerBlock
        var bit = BitmapBlock.next(UnsafeRawBufferPointer(page.bytes), from: 0, value: true)
        while bit < TrackingFormat.bitsPerBlock, base + bit < UInt64(regions.count) {
          regions.insert(Int(base + bit))
          bit = BitmapBlock.next(UnsafeRawBufferPointer(page.bytes), from: bit + 1, value: true)
        }
      }
    }
    guard !regions.isEmpty else { return }
    let pages = HeldPages(interval: extra)
    for region in 0..<regions.count where regions.contains(region) {
      let start = UInt64(region) << header.regionShift
      let end = min(start + (1 << header.regionShift), writer.header.diskSize)
      if start < end { try pages.add(start..<end, to: &writer) }
    }
    try pages.finish(&writer)
  }
}

/// The bits of one interval, from ranges in ascending order.
private final class HeldPages {
  private let interval: UInt32
  private let page = BitmapBlock()
  private var index: UInt32?

  init(interval: UInt32) { self.interval = interval }

  func add(_ range: Range<UInt64>, to writer: inout RecordWriter) throws(ImageError) {
    guard !range.isEmpty else { return }
    var bit = range.lowerBound >> TrackingFormat.granularityShift
    let end = ((range.upperBound - 1) >> TrackingFormat.granularityShift) + 1
    while bit < end {
      let wanted = UInt32(bit / TrackingFormat.bitsPerBlock)
      if wanted != index {
        try finish(&writer)
        page.bytes.initializeMemory(as: UInt8.self, repeating: 0)
        index = wanted
      }
      let start = bit / TrackingFormat.bitsPerBlock * TrackingFormat.bitsPerBlock
      let last = min(end, start + TrackingFormat.bitsPerBlock)
      _ = BitmapBlock.set(page.bytes, (bit - start)..<(last - start))
      bit = last
    }
  }

  func finish(_ writer: inout RecordWriter) throws(ImageError) {
    guard let index else { return }
    try writer.add(page.bytes, index: index, interval: interval)
    self.index = nil
  }
}

/// Puts a tracking file together from its beginning.
private struct RecordWriter {
  let file: HostFile
  let header: TrackingHeader
  private var entries: [UInt64] = []

  init(_ file: HostFile, _ header: TrackingHeader) {
    self.file = file
    self.header = header
  }

  /// Adds a page of bits, which is sealed as a block of this file.
  mutating func add(
    _ page: UnsafeMutableRawBufferPointer, index: UInt32, interval: UInt32
  ) throws(ImageError) {
    let slot = UInt32(entries.count)
    guard slot / UInt32(TrackingFormat.entriesPerChunk) < TrackingFormat.mostChunks else {
      throw ImageError(errno: .noSpace, "\(escaped(file.path)): would be too long; drop points")
    }
    BitmapBlock.seal(page, history: header.history, interval: interval, index: index)
    try file.write(UnsafeRawBufferPointer(page), at: TrackingFormat.blockOffset(slot))
    entries.append(BlockDirectory.encode(index: index, interval: interval))
  }

  /// Writes the directory; answers how many chunks there are.
  func finish() throws(ImageError) -> UInt32 {
    let perChunk = Int(TrackingFormat.entriesPerChunk)
    let chunks = max(1, (entries.count + perChunk - 1) / perChunk)
    try file.resize(to: TrackingFormat.fileSize(chunks: UInt32(chunks)))
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: TrackingFormat.pageSize, alignment: 4096)
    defer { page.deallocate() }
    for chunk in 0..<chunks {
      page.initializeMemory(as: UInt8.self, repeating: 0)
      for (number, entry) in entries.dropFirst(chunk * perChunk).prefix(perChunk).enumerated() {
        page.storeLittleEndian(entry, at: number * 8)
      }
      try file.write(UnsafeRawBufferPointer(page), at: TrackingFormat.entryOffset(UInt32(chunk * perChunk)))
    }
    return UInt32(chunks)
  }

  /// Writes what makes the file a record. It has its name, or takes another's place, only after this.
  func finish(_ header: TrackingHeader, _ points: [ReferencePoint]) throws(ImageError) {
    var header = header
    let length = points.count * TrackingFormat.recordSize
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(length, RegionMarks.slotSize), alignment: 4096)
    defer { bytes.deallocate() }
    for (index, point) in points.enumerated() {
      let start = index * TrackingFormat.recordSize
      point.encode(into: .init(rebasing: bytes[start..<(start + TrackingFormat.recordSize)]))
    }
    let catalogue = UnsafeRawBufferPointer(rebasing: bytes[..<length])
    header.catalogue = 0
    header.pointCount = UInt32(points.count)
    header.catalogueChecksum = Checksum.of(catalogue)
    if length > 0 { try file.write(catalogue, at: TrackingFormat.catalogueOffsets[0]) }
    var marks = RegionMarks(header)
    let slot = UnsafeMutableRawBufferPointer(rebasing: bytes[..<RegionMarks.slotSize])
    for offset in TrackingFormat.regionOffsets {
      marks.sequence += 1
      marks.encode(into: slot, history: header.history)
      try file.write(UnsafeRawBufferPointer(slot), at: offset)
    }
    let page = UnsafeMutableRawBufferPointer(rebasing: bytes[..<TrackingFormat.pageSize])
    for offset in TrackingFormat.headerOffsets {
      header.sequence += 1
      header.encode(into: page)
      try file.write(UnsafeRawBufferPointer(page), at: offset)
    }
    // Before it gets its name.
    try file.flush()
  }
}
