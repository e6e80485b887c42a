import Storage
import SystemPackage
import TestSupport
import Testing

@testable import VHD

/// The sector numbers of a block table reach 2 TiB.
@Suite struct FileLimitTests {
  /// A file that is used up to there, and wastes so much between its blocks that no room is left for the disk's others.
  @Test func noRoomBelowTwoTebibytes() throws {
    let double = RecordingFile()
    try VHDImage.create(
      double.file,
      VHDCreation(kind: .dynamic, virtualSize: VHDCreation.largestSize, blockSize: 2 << 20))
    let empty = try VHDImage(double.file)
    let layout = try #require(empty.blocks?.layout)
    var table = [UInt8](repeating: 0xFF, count: Int(layout.blockCount) * 4)
    var end = layout.tablesEnd
    var used = 0
    while true {
      // Between two blocks there is nearly room for a third, and behind the last for none.
      let wide = layout.place(from: end) + (used == 0 ? 0 : layout.step - 8192)
      let place =
        wide + layout.step + BlockLayout.sector <= BlockLayout.largestFile ? wide : layout.place(from: end)
      guard place + layout.step + BlockLayout.sector <= BlockLayout.largestFile else { break }
      withUnsafeBytes(of: UInt32(place / BlockLayout.sector).bigEndian) {
        table.replaceSubrange(used * 4..<used * 4 + 4, with: $0)
      }
      end = place + layout.bitmapLength + layout.blockSize
      used += 1
    }
    #expect(used > 500_000 && used < Int(layout.blockCount))
    try double.file.write(table, at: layout.tableOffset)
    try double.file.resize(to: layout.footerPlace(after: end))
    try double.file.write(empty.search.bytes, at: layout.footerPlace(after: end))

    let image = try VHDImage(double.file)
    let disk = SmallDisk([image])
    try image.beginWriting()
    #expect {
      try disk.write([1, 2, 3], at: UInt64(used) * layout.blockSize)
    } throws: { error in
      (error as? ImageError)?.errno == .noSpace && "\(error)".contains("2 TiB")
    }
    // All else goes on.
    let bytes = [UInt8](repeating: 0x5A, count: 4096)
    try disk.write(bytes, at: UInt64(used - 1) * layout.blockSize)
    try image.commit()
    #expect(try disk.read(UInt64(used - 1) * layout.blockSize, 4096) == bytes)
    try image.finishWriting()
  }
}
