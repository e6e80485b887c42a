import Storage
import TestSupport
import Testing
import VirtualDisk

/// Every image that can be read, through the library.
@Suite(.requiresCorpus)
struct ReadableImageTests {
  static let images = Corpus.images.filter { $0.expectation == .read || $0.expectation == .policy }

  /// Larger ones are only read where they say that there is data.
  private static let readWhole: UInt64 = 1 << 30

  /// What we chose where the corpus calls it a matter of choice. All others must read as given.
  static let refusedByChoice: Set<String> = []

  @Test(arguments: images)
  func readsAsOtherReadersDo(image: CorpusImage) throws {
    let path = try "\(Corpus.unpacked())/\(image.path)"
    if Self.refusedByChoice.contains(image.path) {
      #expect(throws: ImageError.self) { _ = try CorpusDisk(path) }
      return
    }
    // A child in a directory of its own may name its parent above it, which the user must allow.
    let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    let parents = image.path.contains("/sub/") ? ["\(directory)/.."] : []
    let disk = try CorpusDisk(path, parents: parents)
    #expect(disk.disk.size == image.virtualSize)
    if let sha256 = image.sha256, disk.disk.size <= Self.readWhole {
      #expect(try disk.sha256() == sha256)
    }
    if let sparseSum = image.sparseSum {
      #expect(try disk.sparseSum() == sparseSum)
    }
    try disk.close()
  }

  @Test(arguments: images.filter { !$0.parents.isEmpty && !refusedByChoice.contains($0.path) })
  func chainNamesEachFileOnce(image: CorpusImage) throws {
    let root = try Corpus.unpacked()
    let path = "\(root)/\(image.path)"
    let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    let library = try DiskLibrary(
      sources: [path], parentDirectories: image.path.contains("/sub/") ? ["\(directory)/.."] : [],
      isReadOnly: true)
    let links = try library.chain(of: image.name)
    let names = links.map { $0.path.split(separator: "/").last.map(String.init) ?? "" }
    let expected = [image.name] + image.parents.map { $0.split(separator: "/").last.map(String.init) ?? "" }
    #expect(names == expected)
    try library.close()
  }

  /// A child whose parent is not there, or is another file than it remembers, says so with both names.
  @Test func missingParentIsNamed() throws {
    let root = try Corpus.unpacked()
    let directory = try TemporaryDirectory()
    let child = directory.file("c_child.vhdx")
    try runChecked(["cp", "\(root)/made/crafted/c_child.vhdx", child])
    let missing = #expect(throws: ImageError.self) { _ = try CorpusDisk(child) }
    #expect(missing?.description.contains("c_child.vhdx") == true, "\(missing.debugDescription)")
    #expect(missing?.description.contains("c_parent.vhdx") == true, "\(missing.debugDescription)")
    try runChecked(["cp", "\(root)/made/crafted/c_4k.vhdx", directory.file("c_parent.vhdx")])
    let wrong = #expect(throws: ImageError.self) { _ = try CorpusDisk(child) }
    #expect(wrong?.description.contains("c_parent.vhdx") == true, "\(wrong.debugDescription)")
  }

  /// The parent of a real checkpoint was never published.
  @Test func checkpointWithoutItsParentIsRefused() throws {
    let path = try "\(Corpus.unpacked())/real/dissect.hypervisor/differencing.avhdx"
    let error = #expect(throws: ImageError.self) { _ = try CorpusDisk(path) }
    #expect(error?.description.contains("differencing.avhdx") == true)
  }

  /// Some writers mark bitmap blocks as present in images that have no parent: they mean nothing there.
  @Test func bitmapEntryInAnImageWithoutParent() throws {
    let root = try Corpus.unpacked()
    let directory = try TemporaryDirectory()
    let path = directory.file("image.vhdx")
    try runChecked(["cp", "--sparse=always", "\(root)/made/qemu/x_empty_2T_bs1M.vhdx", path])
    let file = try OpenFile(path, 2)
    // The block table's region: its GUID, then the offset.
    let regions = try file.read(at: 0x30010, count: 64)
    let entry = regions[0] == 0x66 ? 0 : 32
    let table = (0..<8).reduce(UInt64(0)) { $0 | UInt64(regions[entry + 16 + $1]) << UInt64(8 * $1) }
    let end = (file.size + 0xFFFFF) & ~0xFFFFF
    try file.write([UInt8](repeating: 0xFF, count: 1 << 20), at: end)
    // A chunk of 4096 blocks of 1 MiB, then its bitmap's entry: state 6, present.
    let bitmap = end | 6
    try file.write(
      (0..<8).map { UInt8(truncatingIfNeeded: bitmap >> (8 * UInt64($0))) }, at: table + 4096 * 8)
    let disk = try CorpusDisk(path)
    #expect(try disk.bytes(at: 0, count: 65536).allSatisfy { $0 == 0 })
    #expect(try disk.bytes(at: 4096 << 20, count: 65536).allSatisfy { $0 == 0 })
    #expect(try disk.sparseSum() == "baf00e0b9e04a2563ee664311136c4f84d22d5790ea9171c344e6093d6b0bd12")
    try disk.close()
  }
}
