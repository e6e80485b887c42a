import Storage
import TestSupport
import Testing

@testable import GuestLayout

/// NTFS volumes whose log tells nothing, as ntfs-3g leaves it: the bitmap against the file table.
@Suite(
  .requiresMount, .requiresPrograms("mkntfs", "ntfs-3g", "ntfscat", "ntfsinfo", "ntfsfix", "fusermount"))
struct NTFSUseTests {
  private static let note = "it was last written by a driver that leaves no trace of a mount"

  private func disk(_ options: [String] = []) throws -> (TemporaryDirectory, OpenFile) {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: "100M")
    try runChecked(["mkntfs", "-q", "-F", "-f"] + options + [path])
    return (directory, try OpenFile(path, 2))
  }

  private func table(_ file: OpenFile) throws -> NTFSFileTable {
    let volume = VolumeReader(range: 0..<file.size) { (offset, count) throws(ImageError) in
      (try? file.read(at: offset, count: count)) ?? []
    }
    return try NTFSFileTable(NTFSBootSector(file.read(at: 0, count: 512), volumeLength: file.size), volume)
  }

  /// $Bitmap, with where its bytes begin. It lies in one piece.
  private func bitmap(_ file: OpenFile) throws -> (place: UInt64, bytes: [UInt8]) {
    let table = try table(file)
    let stream = try #require(try table.stream(.data, of: table.record(6)))
    #expect(stream.runs.count == 1)
    let place = try #require(stream.runs.first?.start) * table.boot.clusterSize
    return (place, try file.read(at: place, count: Int(stream.size)))
  }

  /// Where the last record in use is: of the file that was made last.
  private func lastRecord(_ file: OpenFile) throws -> UInt64 {
    let table = try table(file)
    var last: UInt64 = 0
    for number in 0..<table.size / UInt64(table.boot.recordSize) where (try? table.record(number)) != nil {
      last = number
    }
    return table.boot.fileTable * table.boot.clusterSize + last * UInt64(table.boot.recordSize)
  }

  @Test func filesOfAllKindsAreFoundInTheBitmap() throws {
    let (directory, file) = try disk(["-c", "1024"])
    try mounted(file.path, directory) { root in
      for index in 0..<200 { try writeFile("\(root)/a\(index)", pattern(seed: 3, count: index * 97 % 9000)) }
      for index in stride(from: 0, to: 200, by: 3) { try runChecked(["rm", "\(root)/a\(index)"]) }
      // A sparse file, one in many pieces, many names in one directory, a second stream.
      try runChecked(["truncate", "-s", "3G", "\(root)/sparse"])
      try runChecked(["bash", "-c", "head -c 5000 /dev/urandom >>'\(root)/sparse'"])
      try runChecked([
        "bash", "-c", "mkdir '\(root)/d'; for n in {0..400}; do : >'\(root)/d/name of file '$n; done",
      ])
      try runChecked(["setfattr", "-n", "user.other", "-v", "some text", "\(root)/a1"])
      try writeFile("\(root)/large", pattern(seed: 4, count: 20 << 20))
    }
    let volume = try SurveyedDisk(file.path).volume
    #expect(volume.freeSpace.obstacle == nil, "\(String(describing: volume.freeSpace.obstacle))")
    #expect(volume.notes == [NTFSUseTests.note])
    #expect(try SurveyedDisk(file.path).free == freeClusters(file.path))
  }

  /// A machine was saved: of a new file the record is written, and the bitmap is not.
  @Test func aFileThatTheBitmapDoesNotKnow() throws {
    let (directory, file) = try disk()
    try mounted(file.path, directory) { root in try writeFile("\(root)/old", pattern(seed: 1, count: 300_000))
    }
    let before = try bitmap(file)
    try mounted(file.path, directory) { root in
      try writeFile("\(root)/new", pattern(seed: 2, count: 30 << 20))
    }
    #expect(try SurveyedDisk(file.path).volume.freeSpace.obstacle == nil)
    let after = try bitmap(file)
    try file.write(before.bytes, at: before.place)
    let disk = try SurveyedDisk(file.path)
    #expect(disk.free.isEmpty)
    #expect(try disk.volume.freeSpace.obstacle?.kind == .contradictory)
    #expect(
      try disk.volume.freeSpace.obstacle?.description.contains("its bitmap contradicts its file table")
        == true)
    // One cluster is enough.
    try file.write(after.bytes, at: after.place)
    let index = try #require(after.bytes.indices.last { after.bytes[$0] != before.bytes[$0] })
    let lost = after.bytes[index] & ~before.bytes[index]
    try file.write([after.bytes[index] & ~(lost & (~lost + 1))], at: after.place + UInt64(index))
    #expect(try SurveyedDisk(file.path).volume.freeSpace.obstacle?.kind == .contradictory)
    try file.write([after.bytes[index]], at: after.place + UInt64(index))
    #expect(try SurveyedDisk(file.path).volume.freeSpace.obstacle == nil)
  }

  /// A record that cannot be read may have any cluster.
  @Test func recordsThatCannotBeRead() throws {
    let (directory, file) = try disk()
    try mounted(file.path, directory) { root in
      try writeFile("\(root)/file", pattern(seed: 1, count: 300_000))
    }
    let record = try lastRecord(file)
    let bytes = try file.read(at: record, count: 1024)
    var runs = Int(bytes.little(UInt16.self, at: 0x14))
    while bytes.little(UInt32.self, at: runs) != 0x80 { runs += Int(bytes.little(UInt32.self, at: runs + 4)) }
    let first = runs
    runs += Int(bytes.little(UInt16.self, at: runs + 0x20))
    for (offset, wrong) in [
      (0, Array("BAAD".utf8)), (510, [0x11, 0x22]), (0x18, [0, 8]), (0x14, [3]), (first + 4, [7]),
      (first + 4, [0, 0x10]), (first + 0x20, [2]), (runs, [0x19]), (runs, [0x0F]), (runs + 1, [0xFF]),
      (runs, [0x38, 1, 0, 0, 0, 0, 0, 0, 0x40]),
    ] as [(Int, [UInt8])] {
      try file.write(wrong, at: record + UInt64(offset))
      #expect(try SurveyedDisk(file.path).free.isEmpty, "\(offset): \(wrong)")
      try file.write(bytes, at: record)
    }
    // Not in use: then it has none.
    try file.write([0], at: record + 0x16)
    #expect(try SurveyedDisk(file.path).volume.freeSpace.obstacle == nil)
  }

  /// A cluster belongs to one file. Two records that say the same are no way to have the bitmap read for ever.
  @Test func clustersOfTwoFiles() throws {
    let (directory, file) = try disk()
    try mounted(file.path, directory) { root in
      try writeFile("\(root)/file", pattern(seed: 1, count: 60 << 20))
      try writeFile("\(root)/later", [])
    }
    #expect(try SurveyedDisk(file.path).volume.freeSpace.obstacle == nil)
    let later = try lastRecord(file)
    try file.write(try file.read(at: later - 1024, count: 1024), at: later)
    #expect(try SurveyedDisk(file.path).volume.freeSpace.obstacle?.kind == .damaged)
  }
}
