import Storage
import VirtualDisk

/// Which ranges of a disk changed since a point: the contents of `control/changes`, and what the command `changes` prints.
///
/// Text may have millions of lines: it is written in pieces that are asked for one after the other, and never stands in
/// memory as a whole. JSON is bounded, and then tells how far it got. Ranges are ascending, do not touch each other, and
/// lie inside the region that was asked for.
///
/// The last line of the text tells how many bytes of the region the answer speaks of; an answer without it was cut off.
public struct ChangesReport {
  /// The next changed range at or after an offset and before an end; nil: none.
  typealias Source = (_ offset: UInt64, _ end: UInt64) throws(ImageError) -> Range<UInt64>?

  private enum Stage { case head, ranges, end, done }

  private let limitID: String
  private let region: Range<UInt64>
  private let format: ReportFormat
  private var ranges: MergedRanges
  private var left: UInt64
  private var stage = Stage.head

  /// The answer about `disk`, which must stay open as long as the report is used. Waits.
  ///
  /// Errors: 32773 for what the question lacks or what does not lie inside the disk; why there is no answer.
  public init(of disk: VirtualDisk, _ request: ChangesRequest) throws(ImageError) {
    let (limit, region) = try request.checked(ofDisk: disk.size, disk.paths[0])
    let changes = try disk.changes(since: limit)
    self.init(
      limitID: changes.limitID, region: region, maximum: request.maximum, as: request.format,
      source: { (offset, end) throws(ImageError) in try changes.next(from: offset, end: end) })
  }

  init(
    limitID: String, region: Range<UInt64>, maximum: UInt64?, as format: ReportFormat,
    source: @escaping Source
  ) {
    self.limitID = limitID
    self.region = region
    self.format = format
    ranges = MergedRanges(region, source)
    let bound = format == .json ? UInt64(ChangesRequest.largestJSON) : UInt64.max
    left = min(maximum ?? bound, bound)
  }

  /// The next piece of the report; nil after the last. Waits for the medium.
  ///
  /// Errors: those of reading the record; the report cannot be gone on with then.
  public mutating func nextPiece() throws(ImageError) -> [UInt8]? {
    switch (stage, format) {
    case (.done, _): return nil
    case (_, .json):
      stage = .done
      return try wholeJSON()
    case (.head, .text):
      stage = .ranges
      return Array(
        "# limit \(escaped(limitID)) target - offset \(region.lowerBound) length \(region.upperBound - region.lowerBound)\n"
          .utf8)
    case (.ranges, .text):
      let lines = try nextLines()
      if !lines.isEmpty { return lines }
      fallthrough
    case (.end, .text):
      stage = .done
      return Array("# processed \(processed)\n".utf8)
    }
  }

  /// How many bytes of the region have been spoken of: all, or up to the last range that was told.
  private var processed: UInt64 { (ranges.isExhausted ? region.upperBound : ranges.end) - region.lowerBound }

  /// `OFFSET LENGTH` lines, about a piece of them; empty when there are no more.
  private mutating func nextLines() throws(ImageError) -> [UInt8] {
    let capacity = MapReport.pieceSize
    return try [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count throws(ImageError) in
      guard let base = buffer.baseAddress else { return }
      var used = 0
      while used <= capacity - DecimalText.longestLine, left > 0, let range = try ranges.next() {
        left -= 1
        used += DecimalText.put(range.lowerBound, at: base + used)
        base[used] = UInt8(ascii: " ")
        used += 1
        used += DecimalText.put(range.upperBound - range.lowerBound, at: base + used)
        base[used] = UInt8(ascii: "\n")
        used += 1
      }
      count = used
    }
  }

  private mutating func wholeJSON() throws(ImageError) -> [UInt8] {
    var found: [Range<UInt64>] = []
    while left > 0, let range = try ranges.next() {
      left -= 1
      found.append(range)
    }
    var output = ReportBytes()
    output.append("{\n  \"limit_id\": ")
    output.appendQuoted(limitID)
    output.append(",\n  \"target_id\": null,\n  \"byte_offset\": ")
    output.append(region.lowerBound)
    output.append(",\n  \"byte_length\": ")
    output.append(region.upperBound - region.lowerBound)
    output.append(",\n  \"processed_byte_length\": ")
    output.append(processed)
    output.append(",\n  \"changed_byte_offsets\": [")
    for (index, range) in found.enumerated() {
      if index > 0 { output.append(", ") }
      output.append(range.lowerBound)
    }
    output.append("],\n  \"changed_byte_lengths\": [")
    for (index, range) in found.enumerated() {
      if index > 0 { output.append(", ") }
      output.append(range.upperBound - range.lowerBound)
    }
    output.append("]\n}\n")
    return output.bytes
  }
}
