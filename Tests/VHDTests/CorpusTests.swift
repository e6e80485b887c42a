import Storage
import TestSupport
import Testing

@testable import VHD

extension CorpusImage {
  var isVHD: Bool { path.hasSuffix(".vhd") || path.hasSuffix(".avhd") || name == "afl5.img" }
  var isHostile: Bool { path.hasPrefix("hostile/") || name == "afl5.img" }
}

extension Corpus {
  /// One image, unpacked into the directory under its path in the corpus.
  static func image(_ path: String, in directory: TemporaryDirectory) throws -> String {
    let packed = fileExists("\(self.directory ?? "")/\(path).zst")
    try unpack([packed ? path + ".zst" : path], into: directory.path)
    return directory.file(path)
  }
}

/// Every VHD of the corpus reads to what others say it holds; the hostile ones do what is expected.
@Suite(.requiresCorpus) struct CorpusTests {
  @Test(arguments: Corpus.images.filter { $0.isVHD && $0.sparseSum != nil }) func contents(
    _ image: CorpusImage
  ) throws {
    let directory = try TemporaryDirectory()
    var images: [VHDImage] = []
    var raw: HostFile?
    for path in [image.path] + image.parents {
      let file = try HostFile.open(try Corpus.image(path, in: directory), writable: false)
      if path.hasSuffix(".img") { raw = file } else { images.append(try VHDImage(file)) }
    }
    let disk = SmallDisk(images, raw: raw)
    #expect(disk.size == image.virtualSize)
    #expect(try disk.sparseSum() == image.sparseSum)
    if let sha256 = image.sha256, disk.size <= 128 << 20 { #expect(try disk.sha256() == sha256) }
    for (child, parent) in zip(images, images.dropFirst()) {
      #expect(child.parent?.parentUniqueID == parent.footer.uniqueID)
    }
  }

  /// What must be refused by the file alone; the other refusals are those of chains.
  @Test(arguments: Corpus.images.filter { $0.isVHD && $0.isHostile }) func hostile(_ image: CorpusImage)
    throws
  {
    let directory = try TemporaryDirectory()
    let file = try HostFile.open(try Corpus.image(image.path, in: directory), writable: true)
    let name = String(image.name.split(separator: ".").first ?? "")
    // Refused where the chain is followed: the parent is not there, not the right one, or the image itself.
    let chains = [
      "hv_diff_uuid", "hv_loop_a", "hv_loop_b", "hv_loc_macx", "hv_loc_macx_host", "hv_loc_unknown",
    ]
    let refusedByChoice = ["hv_size_0", "hv_size_odd", "hv_ver", "hv_fixed_0", "hv_fixed_odd"]
    let opened = Result { try VHDImage(file) }
    if (image.expectation == .refused && !chains.contains(name)) || refusedByChoice.contains(name)
      || name == "afl5"
    {
      guard case .failure(let error as ImageError) = opened else {
        Issue.record("\(name) was not refused")
        return
      }
      #expect(error.sentence.contains(file.path) || error.sentence.hasPrefix(escaped(file.path)))
      return
    }
    let vhd = try opened.get()
    switch name {
    case "hv_bat_0", "hv_bat_hdr", "hv_bat_bat", "hv_bat_tail", "hv_bat_straddle", "hv_bat_dup":
      #expect(throws: ImageError.self) { _ = try SmallDisk([vhd]).read(vhd.blockSize ?? 0, 512).count }
      if name == "hv_bat_dup" {
        #expect(throws: ImageError.self) { _ = try SmallDisk([vhd]).read(0, 512).count }
      }
      #expect(throws: ImageError.self) { try vhd.beginWriting() }
      #expect(!vhd.isWriting)
    case "hv_trunc_block":
      // No sector that was written is missing: it is read, but the block that is cut off keeps it from
      // being written.
      #expect(try SmallDisk([vhd]).sha256().count == 64)
      #expect(throws: ImageError.self) { try vhd.beginWriting() }
    case "hv_copies_differ":
      #expect(!vhd.warnings.isEmpty)
      #expect(throws: ImageError.self) { try vhd.beginWriting() }
    case "hv_loc_macx":
      #expect(vhd.parent?.relativePaths == [])
      #expect(vhd.parent?.otherPaths == ["/etc/passwd"])
    case "hv_loc_macx_host", "hv_loc_unknown":
      #expect(vhd.parent?.relativePaths == [] && vhd.parent?.otherPaths == [])
    default: break
    }
  }
}
