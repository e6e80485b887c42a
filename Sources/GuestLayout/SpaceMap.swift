import Storage

/// Where the free space of a volume is described, checked once and small; the bitmaps themselves stay on the disk.
enum SpaceMap: Sendable {
  /// Bytes from the volume's start; ascending, not touching each other.
  case ranges([Range<UInt64>])
  case ext(ExtGeometry)
  case ntfs(NTFSSpace)
}

/// How a bitmap is cut into pieces, each short enough to be held.
///
/// Invariants: unitSize, unitsPerPiece > 0; base + unitCount * unitSize does not overflow; end lies inside the volume.
struct PieceGeometry: Sendable, Equatable {
  /// Bytes from the volume's start to unit 0.
  var base: UInt64
  /// Bytes of what one bit speaks of.
  var unitSize: UInt64
  var unitCount: UInt64
  var unitsPerPiece: UInt64
  /// Bytes from the volume's start: the last unit may reach beyond the file system, and is cut here.
  var end: UInt64

  var pieceCount: UInt64 { unitCount / unitsPerPiece + (unitCount % unitsPerPiece == 0 ? 0 : 1) }

  /// Units of a piece; fewer in the last one.
  func units(inPiece index: UInt64) -> Int { Int(min(unitsPerPiece, unitCount - index * unitsPerPiece)) }
}

/// What a piece of a bitmap says.
enum SpacePiece {
  case allUsed
  /// At least as many bits as the piece has units.
  case bitmap([UInt8])
}

/// Reads pieces of one volume's bitmap, the current one kept.
struct PieceCursor {
  private enum Source {
    case ext(ExtGroupReader)
    case ntfs(NTFSBitmapReader)
  }

  let geometry: PieceGeometry
  private var source: Source
  private var held: (index: UInt64, piece: SpacePiece)?

  init(_ geometry: ExtGeometry, _ volume: VolumeReader) {
    self.geometry = geometry.pieces
    source = .ext(ExtGroupReader(geometry: geometry, volume: volume))
  }

  init(_ space: NTFSSpace, _ volume: VolumeReader) {
    geometry = space.pieces
    source = .ntfs(NTFSBitmapReader(space: space, volume: volume))
  }

  /// The first free run that ends after `offset` (bytes from the volume's start), as far as its piece goes, cut to begin
  /// at `offset` or later; nil where nothing more is free. With `adjoining`, nil too where the byte at `offset` is used.
  mutating func next(from offset: UInt64, adjoining: Bool) throws(ImageError) -> Range<UInt64>? {
    var unit = offset > geometry.base ? (offset - geometry.base) / geometry.unitSize : 0
    while unit < geometry.unitCount {
      let index = unit / geometry.unitsPerPiece
      let first = index * geometry.unitsPerPiece
      let count = geometry.units(inPiece: index)
      if case .bitmap(let bits) = try piece(index),
        let run = UsedBits.firstClearRun(in: bits, from: Int(unit - first), end: count)
      {
        let start = geometry.base + (first + UInt64(run.lowerBound)) * geometry.unitSize
        let end = geometry.base + (first + UInt64(run.upperBound)) * geometry.unitSize
        let lower = max(start, offset)
        let upper = min(end, geometry.end)
        if lower < upper { return adjoining && lower > offset ? nil : lower..<upper }
      }
      if adjoining { return nil }
      unit = first + UInt64(count)
    }
    return nil
  }

  /// A piece that cannot be believed, though the survey believed it, is all used.
  private mutating func piece(_ index: UInt64) throws(ImageError) -> SpacePiece {
    if let held, held.index == index { return held.piece }
    held = nil
    let piece: SpacePiece
    do throws(SurveyStop) {
      switch source {
      case .ext(var reader):
        piece = try reader.use(ofGroup: index).piece
        source = .ext(reader)
      case .ntfs(let reader):
        piece = .bitmap(try reader.piece(index))
      }
    } catch {
      switch error {
      case .unreadable(let error): throw error
      case .obstacle: piece = .allUsed
      }
    }
    held = (index, piece)
    return piece
  }
}
