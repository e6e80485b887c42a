import Storage
import TestSupport
import Testing

@testable import VHD

/// Footer, header, geometry, bits and locators, each against numbers that others wrote.
@Suite struct StructureTests {
  /// The table of specimens in the format's literature.
  @Test(arguments: [
    (104_448, 3, 4, 17), (3_145_728, 90, 4, 17), (4_194_304, 120, 4, 17), (4_212_736, 121, 4, 17),
    (136_365_211_648, 65278, 16, 255),
  ]) func geometry(size: UInt64, cylinders: UInt16, heads: UInt8, sectors: UInt8) {
    #expect(
      DiskGeometry(size: size) == DiskGeometry(cylinders: cylinders, heads: heads, sectorsPerTrack: sectors))
  }

  @Test func geometryHasBounds() {
    #expect(DiskGeometry(size: 512).size <= 512)
    #expect(DiskGeometry(size: VHDCreation.largestSize) == .maximum)
    #expect(DiskGeometry(size: .max) == .maximum)
    var generator = SeededGenerator(seed: 3)
    for _ in 0..<2000 {
      let size = UInt64.random(in: 1...300_000_000, using: &generator) * 512
      let geometry = DiskGeometry(size: size)
      // It never covers more than the disk, and less only by a part of a cylinder.
      #expect(geometry.size <= size || size < 34816)
      if geometry != .maximum && geometry.cylinders > 0 {
        #expect(
          size - geometry.size < UInt64(geometry.heads) * UInt64(geometry.sectorsPerTrack) * 512 + 512 * 255)
      }
    }
  }

  /// What we decode and encode again is byte for byte what Windows and others wrote.
  @Test(
    .requiresCorpus,
    arguments: [
      "real/go-vhd/win8-child.vhd", "real/go-vhd/win8.vhd", "real/qemu/virtualpc-dynamic.vhd",
      "made/qemu/v_dyn_fson.vhd",
      "real/ImHex-Patterns/vhd.hexpat.vhd", "made/crafted/cv_saved.vhd",
    ]) func encodesWhatItDecodes(_ name: String) throws
  {
    let directory = try TemporaryDirectory()
    let image = try VHDImage(try HostFile.open(try Corpus.image(name, in: directory), writable: false))
    let footer = ByteBuffer(count: 512)
    image.footer.encode(into: footer.bytes)
    #expect(Array(footer.bytes) == image.search.bytes)
    #expect(image.isInSavedState == name.contains("cv_saved"))
    guard let header = image.header else { return }
    let ours = ByteBuffer(count: 1024)
    let theirs = ByteBuffer(count: 1024)
    header.encode(into: ours.bytes)
    try image.file.read(into: theirs.bytes, at: image.footer.dataOffset)
    #expect(Array(ours.bytes) == Array(theirs.bytes))
  }

  @Test(.requiresCorpus) func parentsAsRecorded() throws {
    let directory = try TemporaryDirectory()
    func parent(_ name: String) throws -> ParentReference {
      try #require(
        try VHDImage(try HostFile.open(try Corpus.image(name, in: directory), writable: false)).parent)
    }
    let windows = try parent("real/go-vhd/win8-child.vhd")
    #expect(windows.relativePaths == [#".\win8.vhd"#])
    #expect(
      windows.otherPaths == [#"C:\Users\sergi\Downloads\win8.vhd"#, #"C:\Users\sergi\Downloads\win8.vhd"#])
    #expect(windows.parentTimeStamp == 0)
    let xen = try parent("made/vhdutil/xs_c1.vhd")
    #expect(xen.relativePaths == [#".\xs_base.vhd"#, "./xs_base.vhd"])
    #expect(xen.otherPaths == [#".\xs_base.vhd"#, "xs_base.vhd"])
    #expect(xen.parentTimeStamp == 848_556_293)
    #expect(try parent("made/crafted/sub/cv_sub.vhd").relativePaths == [#"..\cv_parent.vhd"#])
    #expect(try parent("made/vhdutil/xs_onraw.vhd").parentUniqueID.isZero)
  }

  @Test func urls() {
    func sorted(_ url: String) -> [[String]] {
      var (relative, absolute): ([String], [String]) = ([], [])
      ParentReference.sort(url: url, relative: &relative, absolute: &absolute)
      return [relative, absolute]
    }
    #expect(sorted("file://./a.vhd") == [["./a.vhd"], []])
    #expect(sorted("file://../b/a.vhd") == [["../b/a.vhd"], []])
    #expect(sorted("file:///Volumes/x%20y/a%2.vhd") == [[], ["/Volumes/x%20y/a%2.vhd"]])
    #expect(sorted("file://localhost/x%20y.vhd") == [[], ["localhost/x%20y.vhd", "localhost/x y.vhd"]])
    #expect(sorted("http://h/a.vhd") == [[], []])
    #expect(sorted("./a.vhd") == [[], []])
    #expect(sorted("file://./a%00b.vhd") == [["./a%00b.vhd"], []])
    #expect(sorted("file://./%zz%+1%") == [["./%zz%+1%"], []])
  }

  @Test func bitsAreCountedBySectors() {
    var generator = SeededGenerator(seed: 8)
    let buffer = ByteBuffer(count: 512)
    let bits = SectorBits(bytes: buffer.bytes)
    var model = [Bool](repeating: false, count: 4096)
    for _ in 0..<300 {
      let first = Int.random(in: 0..<4096, using: &generator)
      let end = min(4096, first + Int.random(in: 1...200, using: &generator))
      let changes = model[first..<end].contains(false)
      #expect(bits.set(first..<end) == changes)
      for index in first..<end { model[index] = true }
      let start = Int.random(in: 0..<4096, using: &generator)
      let limit = Int.random(in: (start + 1)...4096, using: &generator)
      let run = bits.run(from: start, end: limit)
      let expected = model[start..<limit].prefix { $0 == model[start] }.count
      #expect(run.isSet == model[start] && run.count == expected)
      #expect(bits.areSet(start..<limit) == !model[start..<limit].contains(false))
    }
    for index in 0..<4096 { #expect((buffer.bytes[index / 8] & (0x80 >> (index % 8)) != 0) == model[index]) }
  }

  @Test func checksumsAreChecked() {
    let buffer = ByteBuffer(count: 512)
    var footer = Footer()
    footer.currentSize = 1 << 20
    footer.encode(into: buffer.bytes)
    guard case .valid(let decoded) = Footer.examine(buffer.readable) else {
      Issue.record("not valid")
      return
    }
    #expect(decoded == footer)
    for byte in 8..<512 {
      buffer.bytes[byte] ^= 0x10
      if case .valid = Footer.examine(buffer.readable) { Issue.record("byte \(byte) is not covered") }
      buffer.bytes[byte] ^= 0x10
    }
    buffer.bytes[0] = 0
    if case .noCookie = Footer.examine(buffer.readable) {} else { Issue.record("no cookie") }
  }
}
