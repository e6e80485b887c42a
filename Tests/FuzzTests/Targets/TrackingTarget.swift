import Storage

@testable import ChangeTracking

extension FuzzTarget {
  /// A tracking file, beside the image that it says it belongs to.
  static let tracking = FuzzTarget(
    name: "tracking",
    subject: "tracking file: headers, points, directory, blocks, region tables, and what goes on from it",
    run: { input in
      let image = SparseImage(decoding: input)
      let double = FuzzFile(image)
      let file = HostFile(path: "tracking", double: double)
      // Whatever the file is, being disowned must not make another record of it.
      defer { _ = answer { () throws(ImageError) in try ChangeTracker.disown(file) } }
      guard let contents = answer({ () throws(ImageError) in try TrackingContents(file) }) else { return }
      let header = contents.header
      var state = ImageState(
        identity: header.identity, fileSize: header.fileSize, modified: header.modified,
        diskSize: header.diskSize,
        writes: header.hasWriteIdentity ? header.before : nil)
      let boot = image.operations.first.map { $0.kind & 1 == 1 } ?? false ? GUID.zero : header.boot
      func open() throws(ImageError) -> ChangeTracker {
        try ChangeTracker(file, image: state, boot: boot, isSoleWriter: true)
      }
      guard let tracker = answer(open) else { return }
      var before: [String: [Range<UInt64>]] = [:]
      for point in tracker.points {
        before[point.id] = try answer { () throws(ImageError) in
          try changes(tracker, point.id, header.diskSize)
        }.map(checked(header))
      }
      try require(double.contents == FuzzFile(image).contents, "looking changed the file")

      let after = ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: .random())
      guard
        answer({ () throws(ImageError) in
          try tracker.beginSession(state, announcing: state.writes == nil ? nil : after)
        }) != nil
      else { return }
      if state.writes != nil { state.writes = after }
      let size = header.diskSize
      let noted = (size / 3)..<min(size / 3 + 70_000, size)
      guard !noted.isEmpty,
        answer({ () throws(ImageError) in
          _ = try tracker.note(noted.lowerBound, UInt64(noted.count), mayWait: true)
        }) != nil
      else { return }
      tracker.hold()
      _ = answer { () throws(ImageError) in try tracker.seal("fuzz", created: 1) }
      tracker.letGo()
      if tracker.points.count > 2 {
        let gone = tracker.points[1].id
        if answer({ () throws(ImageError) in try tracker.drop(gone) }) != nil { before[gone] = nil }
      }
      guard answer({ () throws(ImageError) in try tracker.endSession(state) }) != nil, tracker.failure == nil
      else { return }
      let again: ChangeTracker
      do {
        again = try open()
      } catch {
        throw BrokenPromise(description: "what was closed is refused: \(error)")
      }
      for (id, ranges) in before {
        guard let found = answer({ () throws(ImageError) in try changes(again, id, header.diskSize) }) else {
          continue
        }
        _ = try checked(header)(found)
        // Answers that were cut short are not compared.
        guard found.count < mostRanges, ranges.count < mostRanges else { continue }
        for range in ranges + [noted] {
          try require(
            found.contains { $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound },
            "a change at \(range) is missing since \(id)")
        }
      }
    },
    form: .file([.tracking]), seeds: { seedFiles.map { $0.encoded() } })

  private static let mostRanges = 2000

  /// Of the disk as it is; at a point it may have had another size.
  private static func changes(_ tracker: ChangeTracker, _ id: String, _ size: UInt64) throws(ImageError)
    -> [Range<UInt64>]
  {
    let cursor = try ChangeCursor(tracker, since: id)
    var ranges: [Range<UInt64>] = []
    while ranges.count < mostRanges, let next = try cursor.next(from: ranges.last?.upperBound ?? 0, end: size)
    {
      ranges.append(next)
    }
    return ranges
  }

  /// Ranges as they must be.
  private static func checked(_ header: TrackingHeader) -> ([Range<UInt64>]) throws -> [Range<UInt64>] {
    { ranges in
      for (index, range) in ranges.enumerated() {
        try require(!range.isEmpty, "an empty range at \(range.lowerBound)")
        try require(
          index == 0 || ranges[index - 1].upperBound < range.lowerBound, "ranges that touch at \(range)")
      }
      return ranges
    }
  }

  /// Files after a little use.
  private static var seedFiles: [SparseImage] {
    var files: [SparseImage] = []
    for (size, isVHD, closes) in [(6 << 20, true, true), (300 << 20, false, true), (1 << 40, false, false)] {
      let double = FuzzFile(SparseImage())
      let file = HostFile(path: "seed", double: double)
      let writes = isVHD ? nil : ImageState.WriteIdentity(fileWriteGUID: .random(), dataWriteGUID: .random())
      let image = ImageState(
        identity: FileIdentity(device: 1, inode: 2), fileSize: 5, modified: 9, diskSize: UInt64(size),
        writes: writes)
      _ = answer { () throws(ImageError) in
        try ChangeTracker.create(file, for: image, boot: .zero, inSession: false)
        let tracker = try ChangeTracker(file, image: image, boot: .zero)
        try tracker.beginSession(image, announcing: writes)
        for number in 0..<4 {
          tracker.hold()
          _ = try tracker.seal("p\(number)", created: 1)
          tracker.letGo()
          _ = try tracker.note(UInt64(size / 4 * number), 9000, mayWait: true)
        }
        if closes { try tracker.endSession(image) }
      }
      files.append(double.contents)
    }
    return files
  }
}

extension SparseImage {
  /// Where a tracking file's numbers are.
  var trackingFields: [Field] {
    func fields(_ base: UInt64, _ places: [(UInt64, Int)]) -> [Field] {
      places.map { Field(offset: base + $0, width: $1, isBigEndian: false) }
    }
    var result: [Field] = []
    for header in TrackingFormat.headerOffsets {
      result += fields(
        header,
        [
          (8, 4), (16, 8), (24, 4), (28, 4), (32, 8), (40, 8), (56, 8), (72, 8), (80, 8), (152, 8), (160, 8),
          (168, 4),
          (172, 4), (176, 4), (184, 4), (188, 4), (192, 4),
        ])
    }
    for table in TrackingFormat.regionOffsets {
      result += fields(table, [(8, 8), (16, 8), (32, 4), (4096, 8)])
    }
    for catalogue in TrackingFormat.catalogueOffsets {
      for record in 0..<UInt64(4) {
        result += fields(
          catalogue + record * UInt64(TrackingFormat.recordSize),
          [(0, 1), (1, 1), (65, 1), (136, 8), (144, 8), (152, 4), (156, 4)])
      }
    }
    for slot in UInt32(0)..<8 {
      result += fields(TrackingFormat.entryOffset(slot), [(0, 2), (3, 2)])
      result += fields(TrackingFormat.blockOffset(slot), [(16, 4), (20, 4), (32, 8), (40, 8)])
    }
    return result
  }

  mutating func repairTrackingChecksums() {
    for slot in UInt32(0)..<8 {
      let place = TrackingFormat.entryOffset(slot)
      let entry: UInt64 = littleEndian(at: place)
      guard entry != 0 else { continue }
      let (index, interval) = (UInt32(entry & 0xFF_FFFF), UInt32(entry >> 24 & 0xFF_FFFF))
      putLittleEndian(BlockDirectory.encode(index: index, interval: interval), at: place)
      repairTracking(TrackingFormat.blockOffset(slot), 4096, field: 4)
    }
    for table in TrackingFormat.regionOffsets { repairTracking(table, RegionMarks.slotSize, field: 4) }
    for header in TrackingFormat.headerOffsets {
      let count = min(littleEndian(UInt32.self, at: header + 176), 64)
      let catalogue = TrackingFormat.catalogueOffsets[Int(littleEndian(UInt32.self, at: header + 172) & 1)]
      let records = bytes(at: catalogue, count: Int(count) * TrackingFormat.recordSize)
      putLittleEndian(records.withUnsafeBytes { Checksum.of($0) }, at: header + 180)
      repairTracking(header, TrackingFormat.pageSize, field: 12)
    }
  }

  private mutating func repairTracking(_ place: UInt64, _ length: Int, field: Int) {
    let bytes = bytes(at: place, count: length)
    putLittleEndian(
      bytes.withUnsafeBytes { Checksum.of($0, zeroingFieldAt: field) }, at: place + UInt64(field))
  }
}
