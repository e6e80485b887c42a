import Storage
import TestSupport
import Testing
import VirtualDisk

/// Images that others wrote, compacted: they read as other readers say that the untouched ones do.
@Suite(.requiresCorpus)
struct CompactedImageTests {
  @Test(arguments: ReadableImageTests.images.filter { ($0.virtualSize ?? .max) <= 4 << 40 })
  func readsAsBefore(image: CorpusImage) throws {
    let original = try "\(Corpus.unpacked())/\(image.path)"
    let home = String(original[..<(original.lastIndex(of: "/") ?? original.startIndex)])
    let directory = try TemporaryDirectory()
    let path = directory.file(image.name)
    try runChecked(["cp", "--sparse=always", original, path])
    let parents = [home, "\(home)/.."]
    let library = try DiskLibrary(sources: [path], parentDirectories: parents)
    if case .success(let facts) = try library.entry(named: image.name).facts {
      // These are refused, as is a virtual machine in saved state.
      if facts.format == .vhd, facts.type == .fixed || facts.isInSavedState == true { return }
    }
    let before = try sizes(of: path).size
    let chain: OfflineChain
    do {
      chain = try library.takeOffline(image.name, for: "test")
    } catch {
      // As the first image of a chain can be read and not written.
      return
    }
    let disk = chain.disk(at: 0)
    let known = Set(try disk.validateLeaf().all.map(\.sentence))
    let choice = CompactionChoice(scansForZeros: true, usesTables: true, trims: false, moves: true)
    do {
      let plan = try disk.planCompaction(choice, free: .none, .silent)
      _ = try disk.compact(plan, .silent)
    } catch {
      // What cannot be written says so before anything changed.
      #expect(error.returnValue == .wrongDataType || error.returnValue == .notSupported, "\(error)")
    }
    chain.close()
    try library.close()
    let after = try sizes(of: path).size
    #expect(after <= (before + 0xFFFFF) & ~0xFFFFF)
    let compacted = try CorpusDisk(path, parents: parents)
    if let sha256 = image.sha256, compacted.disk.size <= 256 << 20 {
      #expect(try compacted.sha256() == sha256)
    }
    if let sparseSum = image.sparseSum { #expect(try compacted.sparseSum() == sparseSum) }
    let findings = try compacted.disk.validateLeaf().all
    #expect(!findings.contains { $0.severity == .damage && !known.contains($0.sentence) })
    try compacted.close()
  }
}
