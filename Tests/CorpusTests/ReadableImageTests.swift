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
}
