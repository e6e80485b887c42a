import Storage

@testable import VHDX

extension FuzzTarget {
  /// The log: which entries count, and what the file is with them.
  static let vhdxLog = FuzzTarget(
    name: "vhdx-log", subject: "VHDX: log, read through it and replayed", maximumLength: 32 << 10,
    run: { input in
      let image = SparseImage(decoding: input)
      let file = HostFile(path: "log", double: FuzzFile(image))
      guard let header = answer({ () throws(ImageError) in try CurrentHeader(file) })?.header,
        header.logLength <= 16 << 20, header.logOffset <= VHDXFormat.maximumFileOffset,
        header.logLength >= 4096,
        header.logLength % 4096 == 0
      else { return }
      let log = header.logOffset..<(header.logOffset + UInt64(header.logLength))
      guard log.upperBound <= image.size else { return }
      let scanner = LogScanner(
        file: file, logOffset: log.lowerBound, logLength: UInt64(header.logLength), logGUID: header.logGUID)
      guard let sequence = answer({ () throws(ImageError) in try scanner.activeSequence() }) else { return }
      try check(sequence, scanner)
      guard
        let overlay = answer({ () throws(ImageError) in
          try LogOverlay(sequence, scanner: scanner, protecting: log)
        })
      else { return }
      try check(overlay, sequence, log, image, file)
    },
    form: .file([.vhdxHeaders, .vhdxLog]))

  /// The sequence is one: numbers rise by one, each entry begins where the one before it ends, the last names the first.
  private static func check(_ sequence: [LogScanner.Entry], _ scanner: LogScanner) throws {
    try require(!sequence.isEmpty, "an empty sequence")
    for (one, next) in zip(sequence, sequence.dropFirst()) {
      try require(next.header.sequenceNumber == one.header.sequenceNumber + 1, "a number is missing")
      try require(
        next.position == (one.position + UInt64(one.header.entryLength)) % scanner.logLength,
        "a gap in a sequence")
    }
    let (first, last) = (sequence[0], sequence[sequence.count - 1])
    try require(UInt64(last.header.tail) == first.position, "the sequence does not begin at its tail")
    try require(sequence.allSatisfy { $0.header.logGUID == scanner.logGUID }, "an entry of another log")
  }

  /// Compares what is read through the log with the changes done one after the other.
  private static func check(
    _ overlay: LogOverlay, _ sequence: [LogScanner.Entry], _ log: Range<UInt64>, _ image: SparseImage,
    _ file: HostFile
  ) throws {
    var last: UInt64 = 0
    for interval in overlay.intervals {
      try require(
        interval.start >= last && interval.start < interval.end, "intervals out of order at \(interval.start)"
      )
      try require(
        !log.overlaps(interval.start..<interval.end) && interval.start >= VHDXFormat.regionTableOffsets[0],
        "the log changes \(interval.start)")
      try require(interval.end <= overlay.lastFileOffset, "a change behind the end of the file")
      try require(
        interval.page == nil || interval.end - interval.start <= 4096,
        "a page of \(interval.end - interval.start) bytes")
      last = interval.end
    }
    guard overlay.intervals.count <= 300 else { return }
    let model = changes(sequence, log, image)
    var places = model.flatMap { [$0.range.lowerBound, $0.range.upperBound - 4096, $0.range.upperBound] }
    places += model.map { max($0.range.lowerBound, 4096) - 4096 }
    for place in places.prefix(600) where place <= overlay.lastFileOffset - min(4096, overlay.lastFileOffset)
    {
      guard place + 4096 <= overlay.lastFileOffset else { continue }
      let expected = model.last { $0.range.contains(place) }.map {
        $0.page ?? [UInt8](repeating: 0, count: 4096)
      }
      // What lies behind the end of the file and in no change is zero, as the file will be grown.
      let found = read(overlay, file, at: place)
      try require(
        found == expected
          ?? (place >= image.size ? [UInt8](repeating: 0, count: 4096) : clipped(image, place)),
        "the page at \(place) is not what the log makes it")
    }
  }

  private static func clipped(_ image: SparseImage, _ place: UInt64) -> [UInt8] {
    let count = Int(min(4096, image.size - place))
    return image.bytes(at: place, count: count) + [UInt8](repeating: 0, count: 4096 - count)
  }

  private static func read(_ overlay: LogOverlay, _ file: HostFile, at place: UInt64) -> [UInt8]? {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    return answer { () throws(ImageError) -> [UInt8] in
      try overlay.read(file, into: buffer, at: place)
      return Array(buffer)
    }
  }

  /// The changes, oldest first, by a decoder of its own.
  private static func changes(
    _ sequence: [LogScanner.Entry], _ log: Range<UInt64>, _ image: SparseImage
  ) -> [(range: Range<UInt64>, page: [UInt8]?)] {
    let length = log.upperBound - log.lowerBound
    func place(_ entry: LogScanner.Entry, _ offset: UInt64) -> UInt64 {
      log.lowerBound + (entry.position + offset) % length
    }
    var result: [(range: Range<UInt64>, page: [UInt8]?)] = []
    for entry in sequence {
      let count = UInt64(entry.header.descriptorCount)
      var data = (64 + count * 32 + 4095) / 4096 * 4096
      for index in 0..<count {
        let descriptor = place(entry, 64 + index * 32)
        let target: UInt64 = image.littleEndian(at: descriptor + 16)
        if image.bytes(at: descriptor, count: 4) == Array("zero".utf8) {
          let zeros: UInt64 = image.littleEndian(at: descriptor + 8)
          if zeros > 0 { result.append((target..<(target + zeros), nil)) }
        } else {
          var page = image.bytes(at: place(entry, data), count: 4096)
          page.replaceSubrange(0..<8, with: image.bytes(at: descriptor + 8, count: 8))
          page.replaceSubrange(4092..<4096, with: image.bytes(at: descriptor + 4, count: 4))
          result.append((target..<(target + 4096), page))
          data += 4096
        }
      }
    }
    return result
  }
}
