/// Whether a Windows sleeps in an NTFS volume, or was put to sleep by a shutdown that makes the next start fast: then
/// hiberfil.sys in the root directory holds its memory.
extension NTFSFileTable {
  /// Bytes of the root directory's index that are read at most.
  private static let largestIndex: UInt64 = 64 << 20

  func checkHibernation() throws(SurveyStop) {
    for reference in try references(toRootFile: "hiberfil.sys") {
      let record = try record(reference & 0xFFFF_FFFF_FFFF)
      guard record.sequence == UInt16(reference >> 48) else {
        throw .damaged("hiberfil.sys is not what it was")
      }
      guard let data = try stream(.data, of: record), data.size > 0 else { continue }
      guard data.isPlain else { throw hibernated("hiberfil.sys that cannot be read") }
      let start = try bytes(of: data, at: 0, count: Int(min(data.size, 4096)), "hiberfil.sys")
      let isAwake = start.allSatisfy { $0 == 0 } || ["wake", "WAKE"].contains { start.starts(with: $0.utf8) }
      if !isAwake { throw hibernated("a hibernated Windows (hiberfil.sys)") }
    }
  }

  private func hibernated(_ what: String) -> SurveyStop { .obstacle(SpaceObstacle(.hibernated, what)) }

  /// File references of the root directory's entries of this name (in ASCII), in whichever case.
  private func references(toRootFile name: String) throws(SurveyStop) -> [UInt64] {
    let root = try record(5)
    guard let top = try stream(.indexRoot, "$I30", of: root), case .resident(let bytes) = top.place,
      bytes.count >= 32
    else { throw .damaged("the root directory has no index") }
    var found: [UInt64] = []
    try NTFSFileTable.search(bytes, header: 0x10, name, &found)
    let blockSize = UInt64(bytes.little(UInt32.self, at: 8))
    guard let blocks = try stream(.indexAllocation, "$I30", of: root), blocks.size > 0 else { return found }
    guard (512...65536).contains(blockSize), blockSize.nonzeroBitCount == 1, blocks.size % blockSize == 0
    else {
      throw .damaged("the root directory's index makes no sense")
    }
    guard blocks.size <= NTFSFileTable.largestIndex else {
      throw .unsupported("the root directory is too large to be read")
    }
    let count = Int(blocks.size / blockSize)
    guard let bitmap = try stream(.bitmap, "$I30", of: root), bitmap.size >= UInt64(count + 7) / 8 else {
      throw .damaged("the root directory's index has no bitmap")
    }
    let used = try self.bytes(of: bitmap, at: 0, count: (count + 7) / 8, "the root directory's bitmap")
    for index in 0..<count where used[index >> 3] >> UInt8(index & 7) & 1 == 1 {
      var block = try self.bytes(
        of: blocks, at: UInt64(index) * blockSize, count: Int(blockSize), "the root directory")
      guard NTFSFixups.apply(to: &block, mark: "INDX") else {
        throw .damaged("a block of the root directory is torn")
      }
      try NTFSFileTable.search(block, header: 0x18, name, &found)
    }
    return found
  }

  /// The entries behind an index header (INDEX_HEADER): offset of the first, and the end, both from the header on.
  private static func search(
    _ bytes: [UInt8], header: Int, _ name: String, _ found: inout [UInt64]
  ) throws(SurveyStop) {
    let end = bytes.little(UInt32.self, at: header + 4)
    guard Int(end) <= bytes.count - header else { throw .damaged("the root directory's entries have no end") }
    let limit = header + Int(end)
    var place = header + Int(bytes.little(UInt32.self, at: header))
    while true {
      guard place % 8 == 0, place <= limit - 16 else {
        throw .damaged("the root directory's entries have no end")
      }
      let length = Int(bytes.little(UInt16.self, at: place + 8))
      let keyLength = Int(bytes.little(UInt16.self, at: place + 10))
      guard length >= 16, length <= limit - place, 16 + keyLength <= length else {
        throw .damaged("an entry of the root directory makes no sense")
      }
      if bytes.little(UInt16.self, at: place + 12) & 2 != 0 { return }
      let nameLength = keyLength >= 0x42 ? Int(bytes[place + 16 + 0x40]) : 0
      guard nameLength > 0, 0x42 + nameLength * 2 <= keyLength else {
        throw .damaged("an entry of the root directory has no name")
      }
      let units = (0..<nameLength).lazy.map { bytes.little(UInt16.self, at: place + 16 + 0x42 + $0 * 2) }
      if units.elementsEqual(name.utf16, by: { ($0 >= 0x41 && $0 <= 0x5A ? $0 + 0x20 : $0) == $1 }) {
        found.append(bytes.little(at: place))
      }
      place += length
    }
  }
}
