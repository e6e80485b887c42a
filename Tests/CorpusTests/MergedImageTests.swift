import Glibc
import ImageManagement
import Storage
import TestSupport
import Testing
import VirtualDisk

/// Chains that Windows, XenServer and others made, merged into each of their files.
@Suite(.requiresCorpus)
struct MergedImageTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var image: CorpusImage
    /// How far down it is merged.
    var depth: Int
    var testDescription: String { "\(image.path) into \(image.parents[depth - 1])" }
  }

  static let cases: [Case] = Corpus.images
    .filter { ($0.expectation == .read || $0.expectation == .policy) && $0.sha256 != nil }
    .flatMap { image in image.parents.indices.map { Case(image: image, depth: $0 + 1) } }

  @Test(.requiresPrograms("qemu-img"), arguments: cases)
  func readsAsTheChildDid(one: Case) throws {
    // Copies, in the same folders: the corpus stays as it is.
    let directory = try TemporaryDirectory()
    for path in [one.image.path] + one.image.parents {
      let target = directory.file(path)
      try runChecked(["mkdir", "-p", String(target[..<(target.lastIndex(of: "/") ?? target.startIndex)])])
      try runChecked(["cp", "--sparse=always", "\(try Corpus.unpacked())/\(path)", target])
    }
    let folder = String(one.image.path[..<(one.image.path.lastIndex(of: "/") ?? one.image.path.startIndex)])
    let parents = one.image.path.contains("/sub/") ? [directory.file("\(folder)/..")] : []
    let library = try DiskLibrary(sources: [directory.file(one.image.path)], parentDirectories: parents)
    let destination = directory.file(one.image.parents[one.depth - 1])
    var words = OperationWords()
    words.add("into", destination)
    words.add("force")
    let request = OperationRequest(
      words: words, image: one.image.name, library: library, origin: .command, holder: "merge")
    if let refusal = MergedImageTests.merge(request) {
      // Nothing can be merged into a raw file.
      #expect(destination.hasSuffix(".img") && refusal.returnValue == .notSupported, "\(refusal)")
      return
    }
    try library.close()
    let merged = try CorpusDisk(destination, parents: parents)
    #expect(merged.disk.size == one.image.virtualSize)
    try expectContents(merged, one.image)
    try merged.close()
    // The child still reads so too, over what it was merged into.
    let child = try CorpusDisk(directory.file(one.image.path), parents: parents)
    try expectContents(child, one.image)
    try child.close()
    if one.depth == one.image.parents.count, destination.hasSuffix(".vhdx"),
      child.disk.logicalSectorSize == 512
    {
      let check = try run(["qemu-img", "check", "-f", "vhdx", destination])
      #expect(check.succeeded, "\(check.summary)")
      guard let size = one.image.virtualSize, size <= 1 << 30 else { return }
      let raw = directory.file("raw")
      try runChecked(["qemu-img", "convert", "-f", "vhdx", "-O", "raw", destination, raw])
      #expect(try sha256(ofFile: raw) == one.image.sha256)
    }
  }

  private static func merge(_ request: OperationRequest) -> ImageError? {
    do throws(ImageError) {
      let merge = try Merge(request)
      let result = Result { () throws(ImageError) in try merge.run(OperationProgress()) }
      merge.close()
      _ = try result.get()
      return nil
    } catch {
      return error
    }
  }

  private func expectContents(_ disk: CorpusDisk, _ image: CorpusImage) throws {
    if disk.disk.size <= 1 << 30 {
      #expect(try disk.sha256() == image.sha256)
    } else if let sparseSum = image.sparseSum {
      #expect(try disk.sparseSum() == sparseSum)
    }
  }
}
