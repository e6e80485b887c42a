import Glibc
import Storage
import TestSupport
import Testing

@testable import VHD

/// Whatever a crash loses of what was not flushed: the image opens, what was committed is there, and every
/// sector holds what was written to it, or held before: never another place's bytes.
@Suite struct CrashTests {
  /// What each sector may hold after a crash: numbers of contents.
  struct SectorModel {
    /// All contents that were ever written, by number; 0 is all zero.
    var contents: [[UInt8]] = [[UInt8](repeating: 0, count: 512)]
    /// Per sector, oldest first; the last is what it holds now.
    var versions: [[Int]]

    init(size: UInt64) { versions = Array(repeating: [0], count: Int(size / 512)) }

    mutating func write(_ bytes: [UInt8], at offset: UInt64) {
      var position = offset
      let end = offset + UInt64(bytes.count)
      while position < end {
        let sector = Int(position / 512)
        let (from, to) = (Int(position % 512), Int(min(512, end - position / 512 * 512)))
        var content = contents[versions[sector].last ?? 0]
        let start = Int(position - offset)
        content.replaceSubrange(from..<to, with: bytes[start..<start + (to - from)])
        if isAllZero(content[...]) {
          versions[sector].append(0)
        } else {
          contents.append(content)
          versions[sector].append(contents.count - 1)
        }
        position += UInt64(to - from)
      }
    }

    mutating func commit() {
      for sector in versions.indices where versions[sector].count > 1 {
        versions[sector] = [versions[sector].last ?? 0]
      }
    }

    /// The first sector that holds what it never held; nil if there is none.
    func firstFault(_ bytes: [UInt8], _ allowed: [[Int]]) -> Int? {
      bytes.withUnsafeBytes { bytes in
        allowed.indices.first { sector in
          !allowed[sector].contains { version in
            contents[version].withUnsafeBytes {
              memcmp($0.baseAddress!, bytes.baseAddress! + sector * 512, 512) == 0
            }
          }
        }
      }
    }
  }

  /// In which state an image is when writing begins.
  enum Start: String, Sendable, CaseIterable {
    case new
    /// With garbage in the room behind the blocks, as a crash leaves it.
    case leftOver
    case copyBroken, footerLost, footerShort
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var isChild: Bool
    var start: Start
    var seed: UInt64
    var testDescription: String { "\(isChild ? "child" : "dynamic") \(start) \(seed)" }
  }

  static let cases = (1...2).flatMap { seed in
    Start.allCases.flatMap { start in
      [false, true].map { Case(isChild: $0, start: start, seed: UInt64(seed)) }
    }
  }

  static let size: UInt64 = 3 << 20
  static let blockSize: UInt32 = 512 << 10

  /// An image as a crash leaves it: with garbage in the room behind the blocks.
  static func newImage(_ item: Case, parent: VHDImage?, _ generator: inout SeededGenerator) throws
    -> SparseBytes
  {
    let double = RecordingFile()
    var options = VHDCreation(kind: .dynamic, virtualSize: size, blockSize: blockSize)
    if let parent {
      options.kind = .differencing(
        parent: VHDParent(
          uniqueID: parent.footer.uniqueID, timeStamp: 0, relativePath: "p.vhd", absolutePath: "/p.vhd"))
    }
    try VHDImage.create(double.file, options)
    let footer = try double.size() - 512
    var bytes = [UInt8](repeating: 0, count: 512)
    try bytes.withUnsafeMutableBytes { try double.file.read(into: $0, at: footer) }
    switch item.start {
    case .new: break
    case .leftOver:
      let garbage = pattern(3 << 20, &generator)
      try garbage.withUnsafeBytes { try double.file.write($0, at: footer) }
      try bytes.withUnsafeBytes { try double.file.write($0, at: footer + 3 << 20) }
    case .copyBroken: try double.file.writeZeros(at: 0, length: 200)
    case .footerLost: try double.file.writeZeros(at: footer, length: 512)
    case .footerShort: try double.file.resize(to: footer + 511)
    }
    return double.contents.withLock { $0.now }
  }

  @Test(arguments: cases) func everyStateIsGood(_ item: Case) throws {
    var workload = Workload(seed: item.seed &+ 1000)
    workload.largest = 20_000
    var images: [VHDImage] = []
    var model = SectorModel(size: CrashTests.size)
    if item.isChild {
      let double = RecordingFile()
      try VHDImage.create(
        double.file, VHDCreation(kind: .fixed(reserve: false), virtualSize: CrashTests.size))
      let parent = try VHDImage(double.file)
      try parent.beginWriting()
      let bytes = pattern(Int(CrashTests.size), &workload.generator)
      try SmallDisk([parent]).write(bytes, at: 0)
      try parent.finishWriting()
      model.write(bytes, at: 0)
      model.commit()
      images = [parent]
    }
    let start = try CrashTests.newImage(item, parent: images.first, &workload.generator)
    let double = RecordingFile(start)
    var image = try VHDImage(double.file)
    var disk = SmallDisk([image] + images)
    /// Up to this many operations this is what sectors may hold.
    var history: [(position: Int, versions: [[Int]])] = []

    for step in 0..<100 {
      if !image.isWriting { try image.beginWriting() }
      let (offset, length) = workload.range(CrashTests.size, UInt64(CrashTests.blockSize))
      switch Int.random(in: 0..<12, using: &workload.generator) {
      case 0, 1, 2:
        model.write([UInt8](repeating: 0, count: Int(length)), at: offset)
        history.append((double.position, model.versions))
        try disk.zero(offset, length)
      case 3:
        // A write is under way while others commit.
        let start = offset / 512 * 512
        let run = try image.prepareWrite(
          at: start, limit: (length + 511) / 512 * 512, mayAllocate: true, mayWait: true)
        history.append((double.position, model.versions))
        try image.commit()
        model.commit()
        let bytes = pattern(Int(run.length), &workload.generator)
        model.write(bytes, at: start)
        history.append((double.position, model.versions))
        try bytes.withUnsafeBytes { try image.file.write($0, at: run.fileOffset) }
        if run.kind == .tracked { try image.completeWrite(run) }
      case 4:
        history.append((double.position, model.versions))
        try image.commit()
        model.commit()
        history.append((double.position, model.versions))
      case 5 where step % 3 == 0:
        history.append((double.position, model.versions))
        try image.finishWriting()
        model.commit()
        history.append((double.position, model.versions))
        image = try VHDImage(double.file)
        disk = SmallDisk([image] + images)
      default:
        let bytes = pattern(Int(length), &workload.generator)
        model.write(bytes, at: offset)
        history.append((double.position, model.versions))
        try disk.write(bytes, at: offset)
      }
    }
    history.append((double.position, model.versions))

    for _ in 0..<100 {
      let position = Int.random(in: 0...double.position, using: &workload.generator)
      let crashed = double.crash(at: position, &workload.generator)
      guard let allowed = history.last(where: { $0.position <= position })?.versions else { continue }
      try check(crashed, images, model, allowed, "at \(position) of \(double.position)", &workload)
    }
  }

  /// The clean close: at every moment there is a footer at the end, and nothing is left to do when it returns.
  @Test func closingKeepsAFooterAtTheEnd() throws {
    var generator = SeededGenerator(seed: 17)
    let item = Case(isChild: false, start: .new, seed: 0)
    let double = RecordingFile(try CrashTests.newImage(item, parent: nil, &generator))
    let image = try VHDImage(double.file)
    try image.beginWriting()
    try SmallDisk([image]).write([1, 2, 3], at: 1 << 20)
    try image.commit()
    let start = double.position
    try image.finishWriting()
    let size = try double.size()
    #expect(size == 12288 + 4096 + UInt64(CrashTests.blockSize))
    for position in start...double.position {
      for _ in 0..<20 {
        let left = RecordingFile(double.crash(at: position, &generator))
        #expect(try VHDImage(left.file).warnings == [])
        #expect(try SmallDisk([VHDImage(left.file)]).read(1 << 20, 3) == [1, 2, 3])
        if position == double.position { #expect(try left.size() == size) }
      }
    }
  }

  /// What was broken has been mended, durably, before anything else changes.
  @Test(arguments: [Start.copyBroken, .footerLost, .footerShort]) func mendingIsDurable(_ start: Start) throws
  {
    var generator = SeededGenerator(seed: 18)
    let item = Case(isChild: false, start: start, seed: 0)
    let double = RecordingFile(try CrashTests.newImage(item, parent: nil, &generator))
    #expect(
      try VHDImage(double.file).search.tail
        == (start == .footerLost ? .lost : start == .footerShort ? .short : .whole))
    #expect(try VHDImage(double.file).search.hasCopy == (start != .copyBroken))
    try VHDImage(double.file).beginWriting()
    for _ in 0..<20 {
      let search = try VHDImage(RecordingFile(double.crash(at: double.position, &generator)).file).search
      #expect(search.tail == .whole && search.copy == .same)
    }
  }

  func check(
    _ crashed: SparseBytes, _ parents: [VHDImage], _ model: SectorModel, _ allowed: [[Int]], _ place: String,
    _ workload: inout Workload
  ) throws {
    let file = RecordingFile(crashed)
    let disk: SmallDisk
    var now: [UInt8]
    do {
      disk = SmallDisk([try VHDImage(file.file)] + parents)
      now = try disk.read(0, Int(CrashTests.size))
    } catch {
      Issue.record("\(place): \(error)")
      return
    }
    if let sector = model.firstFault(now, allowed) {
      Issue.record("\(place): sector \(sector) holds what it never held (\(allowed[sector].count) versions)")
      return
    }
    if parents.isEmpty { expectBitsDoNotMatter(disk.images[0], file, now, place) }
    // It can be written, and what is written there is good.
    do {
      try disk.images[0].beginWriting()
      for _ in 0..<4 {
        let (offset, length) = workload.range(CrashTests.size, UInt64(CrashTests.blockSize))
        let bytes = pattern(Int(length), &workload.generator)
        try disk.write(bytes, at: offset)
        now.withUnsafeMutableBytes {
          UnsafeMutableRawBufferPointer(rebasing: $0[Int(offset)...]).copyBytes(from: bytes)
        }
      }
      try disk.images[0].finishWriting()
      let again = SmallDisk([try VHDImage(file.file)] + parents)
      #expect(same(try again.read(0, Int(CrashTests.size)), now), "\(place): written after the crash")
      #expect(again.images[0].warnings == [])
    } catch {
      Issue.record("\(place): writing after the crash: \(error)")
    }
  }

  /// Of a disk without a parent some readers heed the sector bits and some do not: both must see the same.
  private func expectBitsDoNotMatter(
    _ image: VHDImage, _ file: RecordingFile, _ now: [UInt8], _ place: String
  ) {
    guard let layout = image.blocks?.layout else { return }
    do {
      let table = ByteBuffer(count: Int(layout.blockCount) * 4)
      try file.file.read(into: table.bytes, at: layout.tableOffset)
      for block in 0..<layout.blockCount {
        let entry = table.readable.bigEndian(UInt32.self, at: Int(block) * 4)
        guard entry != BlockLayout.unallocated else { continue }
        let data = ByteBuffer(count: Int(layout.diskLength(of: block)))
        try file.file.read(into: data.bytes, at: UInt64(entry) * 512 + layout.bitmapLength)
        let first = Int(block * layout.blockSize)
        #expect(
          same(Array(data.bytes), Array(now[first..<first + data.bytes.count])),
          "\(place): block \(block) holds other bytes than its sector bits tell of")
      }
    } catch {
      Issue.record("\(place): \(error)")
    }
  }
}
