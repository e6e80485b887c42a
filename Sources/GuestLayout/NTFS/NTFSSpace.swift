/// Where the bitmap of an NTFS volume lies: worked out once, from structures that were found whole.
///
/// Invariants: every run lies inside the volume; together they hold a bit for each cluster.
struct NTFSSpace: Sendable {
  /// Bytes.
  let clusterSize: UInt64
  let clusterCount: UInt64
  /// Of $Bitmap's data.
  let bitmap: NTFSRunList

  /// Bytes of the bitmap in one piece.
  static let pieceBytes: UInt64 = 1 << 20

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
