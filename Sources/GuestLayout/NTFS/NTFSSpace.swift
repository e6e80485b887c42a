/// Where the bitmap of an NTFS volume lies: worked out once, from structures that were found whole.
///
/// Invariants: the stream is plain and without holes, its runs lie inside the volume, and it holds a bit for each cluster.
struct NTFSSpace: Sendable {
  /// Bytes.
  let clusterSize: UInt64
  let clusterCount: UInt64
  /// $Bitmap's data.
  let bitmap: NTFSStream

  /// Bytes of the bitmap in one piece.
  static let pieceBytes: UInt64 = 1 << 20

  init(_ boot: NTFSBootSector, _ bitmap: NTFSStream) throws(SurveyStop) {
    clusterSize = boot.clusterSize
    clusterCount = boot.clusterCount
    self.bitmap = bitmap
    let needed = (clusterCount + 7) / 8
    guard bitmap.isPlain, bitmap.size >= needed, bitmap.initializedSize >= needed else {
      throw .damaged("the bitmap is shorter than the volume, compressed, or sparse")
    }
    if case .runs(let list) = bitmap.place {
      guard !list.hasHoles, list.clusterCount >= (needed + clusterSize - 1) / clusterSize else {
        throw .damaged("the bitmap's run list is too short, or has holes")
      }
    }
  }

  var pieces: PieceGeometry {
    PieceGeometry(
      base: 0, unitSize: clusterSize, unitCount: clusterCount, unitsPerPiece: NTFSSpace.pieceBytes * 8,
      end: clusterCount * clusterSize)
  }
}

struct NTFSBitmapReader {
  let space: NTFSSpace
  let volume: VolumeReader

  /// At least the bits of the piece's clusters.
  func piece(_ index: UInt64) throws(SurveyStop) -> [UInt8] {
    let count = (space.pieces.units(inPiece: index) + 7) / 8
    return try space.bitmap.bytes(
      at: index * NTFSSpace.pieceBytes, count: count, clusterSize: space.clusterSize, volume, "the bitmap")
  }
}
