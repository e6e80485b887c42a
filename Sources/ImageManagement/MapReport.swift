import Storage
import VirtualDisk

/// Which ranges of a disk are data, zero or unmapped, and which file of the chain decides: the contents of
/// `control/map`, and what the command `map` prints.
///
/// A map may have millions of ranges. It is written in pieces that are asked for one after the other, and never stands
/// in memory as a whole. The ranges are looked up as they are asked for: of a disk that is being written meanwhile,
/// each piece is true at its own moment.
///
/// The last line tells how many bytes of the disk the answer speaks of; an answer without it was cut off.
public struct MapReport {
  /// Calls the closure with the runs of [offset, offset + length), until it answers false.
  typealias Source = (_ offset: UInt64, _ length: UInt64, (MapRun) -> Bool) throws(ImageError) -> Void

  /// About so many bytes make a piece.
  static let pieceSize = 1 << 16

  private enum Stage { case head, ranges, stopped, done }

  private let source: Source
  private let paths: [String]
  private let begin: UInt64
  private let end: UInt64
  private let format: ReportFormat
  private var position: UInt64
  private var stage = Stage.head
  private var isFirstRange = true

  /// The map of [offset, offset + length) of `disk`, which the caller has checked to lie inside it; of the whole disk
  /// without them. `disk` must stay open as long as the report is used.
  public init(of disk: VirtualDisk, from offset: UInt64 = 0, length: UInt64? = nil, as format: ReportFormat) {
    self.init(paths: disk.paths, from: offset, length: length ?? disk.size - offset, as: format) {
      (offset, length, body) throws(ImageError) in
      try disk.forEachMapRun(from: offset, length: length, body)
    }
  }

  init(
    paths: [String], from offset: UInt64, length: UInt64, as format: ReportFormat, source: @escaping Source
  ) {
    self.source = source
    self.paths = paths
    self.begin = offset
    self.end = offset + length
    self.format = format
    self.position = offset
  }

  /// The next piece of the report; nil after the last. Waits for the medium.
  ///
  /// Errors: those of reading the tables; the report cannot be gone on with then.
  public mutating func nextPiece() throws(ImageError) -> [UInt8]? {
    var output = ReportBytes()
    switch stage {
    case .head:
      appendHead(&output)
      stage = .ranges
    case .ranges where position < end:
      try appendRanges(&output)
    case .ranges, .stopped:
      appendEnd(&output)
      stage = .done
    case .done:
      return nil
    }
    return output.bytes
  }

  private func appendHead(_ output: inout ReportBytes) {
    switch format {
    case .text:
      output.append("# offset ")
      output.append(begin)
      output.append(" length ")
      output.append(end - begin)
      output.append("\n")
      for (depth, path) in paths.enumerated() {
        output.append("# file ")
        output.append(UInt64(depth))
        output.append(" ")
        output.appendEscaped(path)
        output.append("\n")
      }
    case .json:
      output.append("{\n  \"byte_offset\": ")
      output.append(begin)
      output.append(",\n  \"byte_length\": ")
      output.append(end - begin)
      output.append(",\n  \"files\": [")
      for (depth, path) in paths.enumerated() {
        output.append(depth == 0 ? "\n    " : ",\n    ")
        output.appendQuoted(path)
      }
      output.append("\n  ],\n  \"ranges\": [")
    }
  }

  private mutating func appendRanges(_ output: inout ReportBytes) throws(ImageError) {
    // Copies, because the closure may not hold `self` while it is being changed.
    var piece = ReportBytes()
    var position = position
    var isFirst = isFirstRange
    let format = format
    try source(position, end - position) { run in
      run.append(to: &piece, as: format, isFirst: isFirst)
      isFirst = false
      position = run.offset + run.length
      return piece.bytes.count < MapReport.pieceSize
    }
    // A source that says nothing ends the report, and its last line tells where.
    stage = position == self.position ? .stopped : .ranges
    self.position = position
    isFirstRange = isFirst
    output = piece
  }

  private func appendEnd(_ output: inout ReportBytes) {
    switch format {
    case .text:
      output.append("# processed ")
      output.append(position - begin)
      output.append("\n")
    case .json:
      output.append("\n  ],\n  \"processed_byte_length\": ")
      output.append(position - begin)
      output.append("\n}\n")
    }
  }
}

extension MapRun {
  /// `OFFSET LENGTH KIND DEPTH FILEOFFSET`, the last `-` where no bytes lie in a file; or a JSON object of the same.
  func append(to output: inout ReportBytes, as format: ReportFormat, isFirst: Bool) {
    switch format {
    case .text:
      output.append(offset)
      output.append(" ")
      output.append(length)
      output.append(kind.word)
      output.append(UInt64(depth))
      if let fileOffset {
        output.append(" ")
        output.append(fileOffset)
        output.append("\n")
      } else {
        output.append(" -\n")
      }
    case .json:
      output.append(isFirst ? "\n    {\"offset\": " : ",\n    {\"offset\": ")
      output.append(offset)
      output.append(", \"length\": ")
      output.append(length)
      output.append(kind.member)
      output.append(UInt64(depth))
      if let fileOffset {
        output.append(", \"file_offset\": ")
        output.append(fileOffset)
      }
      output.append("}")
    }
  }
}

extension MapRun.Kind {
  fileprivate var word: StaticString {
    switch self {
    case .data: " data "
    case .zero: " zero "
    case .unmapped: " unmapped "
    }
  }

  fileprivate var member: StaticString {
    switch self {
    case .data: ", \"kind\": \"data\", \"depth\": "
    case .zero: ", \"kind\": \"zero\", \"depth\": "
    case .unmapped: ", \"kind\": \"unmapped\", \"depth\": "
    }
  }
}
