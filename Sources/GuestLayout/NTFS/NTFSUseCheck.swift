import Storage

/// Compares the bitmap of an NTFS volume with its file table: a cluster that a file has must not be free.
///
/// Wanted where the log tells nothing. A machine that is saved, or crashed, may have written the one and not yet the other, and
/// would lose the file. Clusters that the machine has given out only in its memory are seen nowhere.
///
/// Bounds: the table is read once, 1 MiB at a time, and of the bitmap 8 MiB are held. The clusters of all files together are
/// no more than the volume has, as each belongs to one: more is damage, and ends it.
struct NTFSUseCheck {
  /// Bytes of the file table that are read at most: 64 million records.
  static let largestTable: UInt64 = 64 << 30
  private static let pieceLength = 1 << 20

  private let table: NTFSFileTable
  private var bitmap: BitmapPages
  /// Clusters that were met.
  private var clustersSeen: UInt64 = 0

  init(_ table: NTFSFileTable, _ space: NTFSSpace) {
    self.table = table
    bitmap = BitmapPages(space, table.volume)
  }

  /// Looks through all records in use.
  mutating func run() throws(SurveyStop) {
    let recordSize = table.boot.recordSize
    guard table.size <= NTFSUseCheck.largestTable else {
      throw .unsupported("its file table is too large to be looked through, and its log tells nothing")
    }
    // Overlapping runs of the table itself would have it read without an end.
    guard table.runs.clusterCount <= table.boot.clusterCount else {
      throw .damaged("the file table is larger than the volume")
    }
    let count = table.size / UInt64(recordSize)
    let perPiece = UInt64(NTFSUseCheck.pieceLength / recordSize)
    var number: UInt64 = 0
    while number < count {
      let records = Int(min(perPiece, count - number))
      var bytes = try table.runs.bytes(
        at: number * UInt64(recordSize), count: records * recordSize, clusterSize: table.boot.clusterSize,
        table.volume, "the file table")
      let result: Result<Void, SurveyStop> = bytes.withUnsafeMutableBytes { bytes in
        Result { () throws(SurveyStop) in
          for index in 0..<records {
            let record = UnsafeMutableRawBufferPointer(
              rebasing: bytes[(index * recordSize)..<((index + 1) * recordSize)])
            try check(record, number: number + UInt64(index))
          }
        }
      }
      try result.get()
      number += UInt64(records)
    }
  }

  /// The clusters of one record, as stored.
  private mutating func check(_ bytes: UnsafeMutableRawBufferPointer, number: UInt64) throws(SurveyStop) {
    let record = UnsafeRawBufferPointer(bytes)
    // One that was never made is zero; of one that is not in use nothing counts.
    if record.littleEndian(UInt32.self, at: 0) == 0 { return }
    if record.starts(with: "FILE".utf8), record.littleEndian(UInt16.self, at: 0x16) & 1 == 0 { return }
    guard NTFSFixups.apply(to: bytes, mark: "FILE") else {
      throw .damaged("record \(number) of the file table is torn")
    }
    let end = Int(record.littleEndian(UInt32.self, at: 0x18))
    var place = Int(record.littleEndian(UInt16.self, at: 0x14))
    guard end <= record.count, place >= 0x2A, place % 8 == 0 else {
      throw .damaged("record \(number) has no attributes")
    }
    while place + 4 <= end {
      if record.littleEndian(UInt32.self, at: place) == ~0 { return }
      guard place + 16 <= end else { break }
      let length = Int(record.littleEndian(UInt32.self, at: place + 4))
      guard length >= 24, length % 8 == 0, length <= end - place else { break }
      if record[place + 8] != 0 {
        try checkRuns(UnsafeRawBufferPointer(rebasing: record[place..<(place + length)]), record: number)
      }
      place += length
    }
    throw .damaged("the attributes of record \(number) have no end")
  }

  /// The mapping pairs of an attribute, decoded as in `NTFSRunList`.
  private mutating func checkRuns(_ attribute: UnsafeRawBufferPointer, record: UInt64) throws(SurveyStop) {
    let clusterCount = table.boot.clusterCount
    guard attribute.count >= 0x40,
      (0x40...attribute.count).contains(Int(attribute.littleEndian(UInt16.self, at: 0x20)))
    else { throw .damaged("the run list of an attribute of record \(record) leaves it") }
    var place = Int(attribute.littleEndian(UInt16.self, at: 0x20))
    var last: Int64 = 0
    while place < attribute.count, attribute[place] != 0 {
      let (lengthBytes, offsetBytes) = (Int(attribute[place] & 15), Int(attribute[place] >> 4))
      place += 1
      guard (1...8).contains(lengthBytes), offsetBytes <= 8,
        attribute.count - place >= lengthBytes + offsetBytes
      else { throw .damaged("a run list of record \(record) makes no sense") }
      let count = NTFSUseCheck.signed(attribute, at: place, count: lengthBytes)
      place += lengthBytes
      guard count > 0 else { throw .damaged("a run list of record \(record) makes no sense") }
      // A hole, of any length.
      guard offsetBytes > 0 else { continue }
      let (start, overflow) = last.addingReportingOverflow(
        NTFSUseCheck.signed(attribute, at: place, count: offsetBytes))
      place += offsetBytes
      guard !overflow, start >= 0, UInt64(count) <= clusterCount,
        UInt64(start) <= clusterCount - UInt64(count)
      else { throw .damaged("a run of record \(record) lies outside the volume") }
      last = start
      guard UInt64(count) <= clusterCount - clustersSeen else {
        throw .damaged("its files have more clusters than there are")
      }
      clustersSeen += UInt64(count)
      guard try bitmap.areAllUsed(UInt64(start)..<UInt64(start) + UInt64(count)) else {
        throw .obstacle(
          SpaceObstacle(
            .contradictory,
            "its bitmap contradicts its file table: it calls clusters of record \(record) free"))
      }
    }
  }

  /// Little-endian, of 1 to 8 bytes.
  private static func signed(_ bytes: UnsafeRawBufferPointer, at offset: Int, count: Int) -> Int64 {
    var value: Int64 = bytes[offset + count - 1] >= 0x80 ? -1 : 0
    for index in (0..<count).reversed() { value = value << 8 | Int64(bytes[offset + index]) }
    return value
  }
}

/// Pages of a bitmap, each with one place of the few that are held: files lie near each other.
private struct BitmapPages {
  private static let pageLength = 16 << 10
  private static let mostPages = 512

  private let space: NTFSSpace
  private let volume: VolumeReader
  /// The page that each place holds.
  private var held: [UInt64?]
  private var bytes: [UInt8]

  init(_ space: NTFSSpace, _ volume: VolumeReader) {
    self.space = space
    self.volume = volume
    let pages = min(
      space.clusterCount / UInt64(BitmapPages.pageLength * 8) + 1, UInt64(BitmapPages.mostPages))
    held = Array(repeating: nil, count: Int(pages))
    bytes = Array(repeating: 0, count: Int(pages) * BitmapPages.pageLength)
  }

  /// `clusters` lie inside the volume.
  mutating func areAllUsed(_ clusters: Range<UInt64>) throws(SurveyStop) -> Bool {
    let bitsPerPage = UInt64(BitmapPages.pageLength * 8)
    var cluster = clusters.lowerBound
    while cluster < clusters.upperBound {
      let page = cluster / bitsPerPage
      let end = min(clusters.upperBound, (page + 1) * bitsPerPage)
      let place = try load(page) * BitmapPages.pageLength
      let isUsed = bytes.withUnsafeBytes { bytes in
        UsedBits.areAllSet(
          in: UnsafeRawBufferPointer(rebasing: bytes[place..<(place + BitmapPages.pageLength)]),
          from: Int(cluster - page * bitsPerPage), end: Int(end - page * bitsPerPage))
      }
      guard isUsed else { return false }
      cluster = end
    }
    return true
  }

  /// The place that holds a page.
  private mutating func load(_ page: UInt64) throws(SurveyStop) -> Int {
    let place = Int(page % UInt64(held.count))
    if held[place] == page { return place }
    held[place] = nil
    let offset = page * UInt64(BitmapPages.pageLength)
    // $Bitmap has a bit for each cluster; it may end inside the last page.
    let count = Int(min(UInt64(BitmapPages.pageLength), space.bitmap.size - offset))
    let read = try space.bitmap.bytes(
      at: offset, count: count, clusterSize: space.clusterSize, volume, "the bitmap")
    let start = place * BitmapPages.pageLength
    bytes.replaceSubrange(start..<(start + count), with: read)
    held[place] = page
    return place
  }
}
