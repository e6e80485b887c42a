import Storage
import TestSupport
import Testing
import VirtualDisk

/// Every damaged or malicious image, through the library. That the program stays within time and memory is
/// HostileProgramTests' matter.
@Suite(.requiresCorpus)
struct HostileImageTests {
  @Test(arguments: Corpus.images.filter { $0.expectation == .refused })
  func isRefused(image: CorpusImage) throws {
    let path = try HostileCorpus.path(of: image)
    let error = #expect(throws: ImageError.self) {
      let disk = try CorpusDisk(path)
      Issue.record("opened with \(disk.disk.size) bytes")
      try disk.close()
    }
    let sentence = error?.description ?? ""
    #expect(sentence.contains(image.name), "does not name the file: \(sentence)")
    #expect(!sentence.contains("\n"))
  }

  @Test(arguments: Corpus.images.filter { $0.expectation == .recoverable })
  func opensAndReads(image: CorpusImage) throws {
    let disk = try CorpusDisk(HostileCorpus.path(of: image))
    #expect(try disk.sha256() == HostileCorpus.goodVHDX)
    try disk.close()
  }

  /// Where the damage is, reads fail; elsewhere they show what the undamaged image would.
  @Test(arguments: Corpus.images.filter { $0.expectation == .readError })
  func damagedRangeFails(image: CorpusImage) throws {
    let path = try HostileCorpus.path(of: image)
    guard let damage = HostileCorpus.damage[image.name] else {
      Issue.record("no damaged range known")
      return
    }
    let disk: CorpusDisk
    do {
      disk = try CorpusDisk(path)
    } catch let error as ImageError {
      #expect(error.description.contains(image.name), "\(error)")
      return
    }
    let good = try CorpusDisk(HostileCorpus.path(named: damage.good))
    let step: UInt64 = 65536
    for offset in stride(from: 0, to: disk.disk.size, by: UInt64.Stride(step)) {
      let count = Int(min(step, disk.disk.size - offset))
      do {
        let bytes = try disk.bytes(at: offset, count: count)
        #expect(!damage.range.contains(offset), "a read at \(offset) did not fail")
        if !damage.isEverywhere {
          let expected =
            damage.zeros.contains(offset)
            ? [UInt8](repeating: 0, count: count) : try good.bytes(at: offset, count: count)
          #expect(same(bytes, expected), "other bytes at \(offset)")
        }
      } catch let error as ImageError {
        #expect(damage.isEverywhere || damage.range.contains(offset), "\(offset): \(error)")
        #expect(error.description.contains(image.name), "\(error)")
      }
    }
    try disk.close()
    try good.close()
  }

  /// What we chose where either is defensible, and why.
  @Test(arguments: Corpus.images.filter { $0.expectation == .choice })
  func choiceIsKept(image: CorpusImage) throws {
    let path = try HostileCorpus.path(of: image)
    guard let choice = HostileCorpus.choices[image.name] else {
      Issue.record("no choice written down")
      return
    }
    do {
      let disk = try CorpusDisk(path, parents: [HostileCorpus.directory()])
      var failed: Set<UInt64> = []
      for offset in stride(from: 0, to: disk.disk.size, by: 65536) {
        do {
          _ = try disk.bytes(at: offset, count: Int(min(65536, disk.disk.size - offset)))
        } catch let error as ImageError {
          failed.insert(offset >> 21)
          #expect(error.description.contains(image.name), "\(error)")
        }
      }
      switch choice {
      case .refused: Issue.record("opened")
      case .reads(let size, let sum):
        #expect(failed.isEmpty, "reads failed in blocks \(failed.sorted())")
        #expect(disk.disk.size == size)
        if let sum { #expect(try disk.sha256() == sum) }
      case .failsIn(let blocks): #expect(failed == blocks)
      }
      try disk.close()
    } catch let error as ImageError {
      if case .refused = choice {} else { Issue.record("refused: \(error)") }
      #expect(error.description.contains(image.name), "\(error)")
    }
  }

  /// Where two blocks lie in one place, a write to one would change the other: nobody writes them.
  @Test(arguments: ["h_bat_dup.vhdx", "h_bat_half.vhdx", "hv_bat_dup.vhd"])
  func overlappingBlocksAreNotWritten(name: String) throws {
    let directory = try TemporaryDirectory()
    let path = directory.file(name)
    try runChecked(["cp", HostileCorpus.path(named: name), path])
    let library = try DiskLibrary(sources: [path])
    let before = try contents(path)
    do {
      let handle = try library.open(name, access: .write)
      defer { try? handle.close() }
      try pattern(seed: 1, count: 65536).withUnsafeBytes {
        _ = try handle.disk.write($0, at: 0, mayWait: true)
      }
      Issue.record("a write succeeded")
    } catch let error as ImageError {
      #expect(error.description.contains(name))
    }
    try? library.close()
    #expect(try contents(path) == before)
  }

  /// SHA-256 of what can be read, and the blocks that cannot.
  private func contents(_ path: String) throws -> String {
    let disk = try CorpusDisk(path)
    let digest = try Digest()
    for offset in stride(from: 0, to: disk.disk.size, by: 65536) {
      do {
        try digest.add(disk.bytes(at: offset, count: 65536))
      } catch let error as ImageError {
        try digest.add(Array("\(offset): \(error.returnValue.rawValue)".utf8))
      }
    }
    try disk.close()
    return try digest.finish()
  }

  /// A chain as deep as we allow opens; that of the corpus has 81 files.
  @Test func deepChainReads() throws {
    let disk = try CorpusDisk(
      "\(HostileCorpus.directory())/deep/d079.vhdx", parents: [HostileCorpus.directory()])
    #expect(disk.disk.paths.count == 81)
    _ = try disk.sha256()
    try disk.close()
  }

  @Test func fuzzedTableCountIsRefused() throws {
    let path = try "\(Corpus.unpacked())/real/qemu/afl5.img"
    let error = #expect(throws: ImageError.self) { _ = try CorpusDisk(path) }
    #expect(error?.description.contains("afl5.img") == true)
  }
}
