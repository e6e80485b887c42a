import Storage

/// The first sector of an NTFS volume: the parameters of its layout.
///
/// Invariants: sizes are powers of two; clusterCount * clusterSize lies inside the volume; the records named begin inside it.
struct NTFSBootSector: Sendable {
  /// Bytes.
  let clusterSize: UInt64
  let clusterCount: UInt64
  /// Cluster numbers.
  let fileTable: UInt64
  let fileTableMirror: UInt64
  /// Bytes.
  let recordSize: Int

  init(_ bytes: [UInt8], volumeLength: UInt64) throws(SurveyStop) {
    guard bytes.count >= 512, bytes[510] == 0x55, bytes[511] == 0xAA else {
      throw .damaged("the boot sector has no end mark")
    }
    let sectorSize = UInt64(bytes.little(UInt16.self, at: 0x0B))
    guard (512...4096).contains(sectorSize), sectorSize.nonzeroBitCount == 1 else {
      throw .damaged("an impossible sector size")
    }
    // Above 128 the number is a negative logarithm.
    let code = bytes[0x0D]
    let sectors: UInt64 = code <= 128 ? UInt64(code) : code >= 0xF4 ? 1 << UInt64(256 - Int(code)) : 0
    guard sectors.nonzeroBitCount == 1, sectorSize * sectors <= 2 << 20 else {
      throw .damaged("an impossible cluster size")
    }
    clusterSize = sectorSize * sectors
    // What other file systems keep in these places.
    guard bytes.little(UInt16.self, at: 0x0E) == 0, bytes[0x10] == 0,
      bytes.little(UInt32.self, at: 0x11) == 0,
      bytes.little(UInt16.self, at: 0x16) == 0, bytes.little(UInt32.self, at: 0x20) == 0
    else { throw .damaged("the boot sector makes no sense") }
    let sectorCount = bytes.little(UInt64.self, at: 0x28)
    guard sectorCount > 0, sectorCount <= volumeLength / sectorSize else {
      throw .damaged("the file system is larger than its place")
    }
    // What is left behind the last whole cluster is in no bitmap, and used. So is the copy of this sector, behind the
    // file system's own last one.
    clusterCount = sectorCount / sectors
    fileTable = bytes.little(UInt64.self, at: 0x30)
    fileTableMirror = bytes.little(UInt64.self, at: 0x38)
    guard (1..<max(clusterCount, 1)).contains(fileTable), (1..<max(clusterCount, 1)).contains(fileTableMirror)
    else {
      throw .damaged("the file table lies outside the volume")
    }
    recordSize = try NTFSBootSector.size(code: bytes[0x40], clusterSize: clusterSize)
  }

  /// Clusters, or where negative the logarithm of bytes.
  private static func size(code: UInt8, clusterSize: UInt64) throws(SurveyStop) -> Int {
    let signed = Int(Int8(bitPattern: code))
    let size =
      signed > 0 ? UInt64(signed) * clusterSize : signed >= -16 && signed < 0 ? 1 << UInt64(-signed) : 0
    guard (512...65536).contains(size), size.nonzeroBitCount == 1 else {
      throw .damaged("an impossible record size")
    }
    return Int(size)
  }
}
