import ChangeTracking
import Simulation
import Storage
import Synchronization
import SystemPackage
import TestSupport
import Testing
import VHDX
import VirtualDisk

/// What a compaction gives up, and what it leaves; in memory. Power cuts, faults and random histories are tried elsewhere.
@Suite("Compaction of a disk")
struct CompactionTests {
  static let block = 1 << 20
  static let shape = DiskShape(
    isVHD: false, isFixed: false, size: 8 << 20, blockSize: 1 << 20, sectorSize: 512)
  static let vhd = DiskShape(isVHD: true, isFixed: false, size: 8 << 19, blockSize: 1 << 19, sectorSize: 512)

  /// A chain whose files are in memory.
  struct Chain {
    var files: [RecordedFile]

    init(_ shape: DiskShape, children: Int = 0) throws {
      files = [try shape.makeFile(size: shape.size, blockSize: shape.blockSize, parent: nil)]
      for _ in 0..<children { try addChild(shape) }
    }

    mutating func addChild(_ shape: DiskShape) throws {
      files.insert(
        try shape.makeFile(size: shape.size, blockSize: shape.blockSize, parent: files[0].contents), at: 0)
    }

    func open(_ tracking: GivenTracking? = nil) throws -> VirtualDisk {
      try VirtualDisk(
        files: files.enumerated().map {
          HostFile(
            path: "layer\($0)", double: $1, isWritable: $0 == 0,
            identity: FileIdentity(device: 1, inode: UInt64(100 + $0)))
        }, tracking: tracking)
    }

    func leafImage() throws -> VHDXImage { try VHDXImage(HostFile(path: "leaf", double: files[0])) }
  }

  static func write(_ disk: VirtualDisk, _ offset: Int, _ count: Int, seed: UInt64 = 1) throws {
    try write(disk, offset, pattern(seed: seed, at: UInt64(offset), count: count))
  }

  static func write(_ disk: VirtualDisk, _ offset: Int, _ bytes: [UInt8]) throws {
    let result: Result<Bool, ImageError> = bytes.withUnsafeBytes { buffer in
      Result { () throws(ImageError) in try disk.write(buffer, at: UInt64(offset), mayWait: true) }
    }
    #expect(try result.get())
  }

  static func contents(_ disk: VirtualDisk) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xEE, count: Int(disk.size))
    let result: Result<Bool, ImageError> = bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(ImageError) in try disk.read(into: buffer, at: 0, mayWait: true) }
    }
    _ = try result.get()
    return bytes
  }

  /// Compacts and answers the outcome; all but what became zero must read as before, by a fresh opening.
  @discardableResult
  static func compact(
    _ chain: Chain, _ mode: Int, free: [Range<Int>] = [], _ tracking: GivenTracking? = nil
  ) throws -> (zeroed: [Range<Int>], size: UInt64) {
    let disk = try chain.open(tracking)
    var expected = try contents(disk)
    let compacting = Compacting(mode, free: free)
    let (plan, zeroed) = try compacting.plan(disk)
    for range in zeroed { for index in range { expected[index] = 0 } }
    try compacting.run(plan, disk)
    let after = try chain.open()
    #expect(try contents(after) == expected)
    #expect(try after.validateLeaf().all.isEmpty)
    return (zeroed, chain.files[0].contents.size)
  }

  /// Blocks 0 to 5 with data.
  static func filled(_ shape: DiskShape, children: Int = 0) throws -> Chain {
    let chain = try Chain(shape, children: children)
    let disk = try chain.open()
    for block in 0..<6 { try write(disk, block * shape.blockSize + 8192, 16384, seed: UInt64(block + 1)) }
    try disk.finishWriting()
    return chain
  }

  @Test("the contents' id stays where the contents do, and is new where they change")
  func identity() throws {
    let chain = try CompactionTests.filled(CompactionTests.shape)
    let disk = try chain.open()
    try CompactionTests.write(disk, 8192, [UInt8](repeating: 0, count: 16384))
    try disk.finishWriting()
    let before = try chain.leafImage().writeGUIDs
    let size = chain.files[0].contents.size
    #expect(try CompactionTests.compact(chain, 4).size == size - 1 << 20)
    let moved = try chain.leafImage().writeGUIDs
    #expect(moved.data == before.data && moved.file != before.file)
    // Nothing to do: nothing changes.
    let contents = chain.files[0].operationCount
    try CompactionTests.compact(chain, 4)
    #expect(chain.files[0].operationCount == contents)
    // A block that is free and holds no zeros.
    #expect(try CompactionTests.compact(chain, 1, free: [1 << 20..<2 << 20]).zeroed == [1 << 20..<2 << 20])
    let changed = try chain.leafImage().writeGUIDs
    #expect(changed.data != before.data && changed.file != moved.file)
    // One that is free and zero is no change.
    #expect(
      try CompactionTests.compact(chain, 1, free: [1 << 20..<2 << 20, 6 << 20..<8 << 20]).zeroed.isEmpty)
    #expect(try chain.leafImage().writeGUIDs == changed)
  }

  @Test(
    "moving is no change to the record, what becomes zero is one", arguments: [CompactionTests.shape, vhd])
  func tracking(_ shape: DiskShape) throws {
    let chain = try CompactionTests.filled(shape)
    let boot = GUID.random()
    let record = RecordedFile()
    func tracking() -> GivenTracking {
      var options = TrackingOptions()
      options.isSoleWriter = true
      return GivenTracking(HostFile(path: "tracking", double: record), boot: boot, options: options)
    }
    let disk = try chain.open(tracking())
    try disk.setTracking(.reset)
    try CompactionTests.write(disk, 8192, [UInt8](repeating: 0, count: 16384))
    let point = try disk.makePoint("before")
    try disk.finishWriting()
    #expect(try CompactionTests.compact(chain, 4, tracking()).zeroed.isEmpty)
    func changes() throws -> [Range<UInt64>] {
      let changes = try chain.open(tracking()).changes(since: point.id)
      var found: [Range<UInt64>] = []
      while let next = try changes.next(from: found.last?.upperBound ?? 0, end: UInt64(shape.size)) {
        found.append(next)
      }
      return found
    }
    #expect(try changes().isEmpty)
    let block = shape.blockSize
    try CompactionTests.compact(chain, 0, free: [2 * block..<3 * block], tracking())
    #expect(try changes() == [UInt64(2 * block)..<UInt64(3 * block)])
  }

  @Test("a block whose used clusters are zero and whose rest is free goes; a used byte keeps it")
  func partlyFreeBlocks() throws {
    for (free, isReleased) in [(8192..<24576, true), (8192..<24575, false), (8193..<24576, false)] {
      let chain = try CompactionTests.filled(CompactionTests.shape)
      let zeroed = try CompactionTests.compact(chain, 0, free: [free]).zeroed
      #expect(zeroed == (isReleased ? [0..<1 << 20] : []), "\(free)")
      // Quick looks at no bytes, and takes whole blocks only.
      let other = try CompactionTests.filled(CompactionTests.shape)
      #expect(try CompactionTests.compact(other, 1, free: [free]).zeroed.isEmpty)
    }
  }

  @Test(
    "retrim gives back pieces where they lie, and moves nothing", arguments: [CompactionTests.shape, vhd])
  func retrim(_ shape: DiskShape) throws {
    for children in 0...1 {
      let chain = try CompactionTests.filled(shape, children: children)
      let held = chain.files[0].contents.held
      let free = 8192..<16384
      let zeroed = try CompactionTests.compact(chain, 2, free: [free]).zeroed
      #expect(zeroed == [free])
      #expect(chain.files[0].contents.held + 8192 <= held + 4096, "\(shape)")
    }
  }

  @Test(
    "a fixed VHDX keeps its size and its blocks, and gives room back to the host", arguments: [0, 1, 2, 3, 4])
  func fixed(_ mode: Int) throws {
    var shape = CompactionTests.shape
    shape.isFixed = true
    let chain = try Chain(shape)
    let disk = try chain.open()
    try CompactionTests.write(disk, 0, 2 << 20)
    try CompactionTests.write(disk, 4096, [UInt8](repeating: 0, count: 1 << 19))
    try disk.finishWriting()
    let (size, held) = (chain.files[0].contents.size, chain.files[0].contents.held)
    let free = (3 << 19)..<(2 << 20)
    let zeroed = try CompactionTests.compact(chain, mode, free: [free]).zeroed
    #expect(chain.files[0].contents.size == size)
    let given: UInt64 = (mode == 0 || mode == 4 ? 1 << 19 : 0) + (mode < 3 ? 1 << 19 : 0)
    #expect(held - chain.files[0].contents.held == given)
    #expect(zeroed == (mode < 3 ? [free] : []))
  }

  @Test("holes that another program left in a fixed VHDX stay, and its blocks lie where they lay")
  func fixedWithHoles() throws {
    var shape = CompactionTests.shape
    shape.isFixed = true
    let chain = try Chain(shape)
    let disk = try chain.open()
    for block in 0..<8 { try CompactionTests.write(disk, block << 20, 1 << 20, seed: UInt64(block)) }
    try disk.finishWriting()
    var file = chain.files[0].contents
    // The block table lies at 3 MiB: its third entry becomes NOT_PRESENT, as QEMU leaves those of a sparse source.
    let none = [UInt8](repeating: 0, count: 8)
    none.withUnsafeBytes { file.write($0, at: 3 << 20 + 16) }
    var holed = chain
    holed.files[0] = RecordedFile(file)
    for mode in [0, 1, 4] {
      try CompactionTests.compact(holed, mode, free: [(3 << 20)..<(4 << 20)])
      #expect(holed.files[0].contents.size == file.size)
      var table = [UInt8](repeating: 0, count: 64)
      var old = table
      table.withUnsafeMutableBytes { _ = holed.files[0].contents.read(into: $0, at: 3 << 20) }
      old.withUnsafeMutableBytes { _ = file.read(into: $0, at: 3 << 20) }
      #expect(table == old)
    }
  }

  @Test("a child's zeros stay over a parent's data", arguments: [CompactionTests.shape, vhd])
  func zerosOverData(_ shape: DiskShape) throws {
    var chain = try CompactionTests.filled(shape)
    try chain.addChild(shape)
    let disk = try chain.open()
    let block = shape.blockSize
    // Over data of the parent, over nothing of it in a block that it has, and in one that it has not.
    try CompactionTests.write(disk, 8192, 4096)
    try CompactionTests.write(disk, 8192, [UInt8](repeating: 0, count: 4096))
    try CompactionTests.write(disk, block + 65536, 4096)
    try CompactionTests.write(disk, block + 65536, [UInt8](repeating: 0, count: 4096))
    try CompactionTests.write(disk, 6 * block, 4096)
    try CompactionTests.write(disk, 6 * block, [UInt8](repeating: 0, count: 4096))
    try disk.finishWriting()
    let size = chain.files[0].contents.size
    let after = try CompactionTests.compact(chain, 4).size
    // Two of three blocks go; in VHDX the bitmap stays with the third.
    #expect(size - after >= UInt64(2 * block) && size - after < UInt64(3 * block))
    // And the last, once the parent's data do not matter any more.
    #expect(try CompactionTests.compact(chain, 0, free: [0..<block]).size < (shape.isVHD ? after + 1 : after))
  }

  @Test("room that an unmapped block kept is given back")
  func anchors() throws {
    let chain = try CompactionTests.filled(CompactionTests.shape)
    var file = chain.files[0].contents
    // The block table lies at 3 MiB; FULLY_PRESENT (6) becomes UNMAPPED (3).
    var entry = [UInt8](repeating: 0, count: 1)
    _ = entry.withUnsafeMutableBytes { file.read(into: $0, at: 3 << 20 + 8) }
    entry[0] = entry[0] & ~7 | 3
    entry.withUnsafeBytes { file.write($0, at: 3 << 20 + 8) }
    var anchored = chain
    anchored.files[0] = RecordedFile(file)
    let guid = try anchored.leafImage().dataWriteGUID
    #expect(try CompactionTests.compact(anchored, 3).size == file.size - 1 << 20)
    #expect(try anchored.leafImage().dataWriteGUID == guid)
  }

  @Test("a gap that no block fits is closed")
  func gaps() throws {
    // Bitmap blocks of 1 MiB among blocks of 2 MiB: one that is no more needed leaves such a gap.
    var shape = CompactionTests.shape
    shape.blockSize = 2 << 20
    shape.size = 16 << 20
    let chain = try Chain(shape, children: 1)
    let disk = try chain.open()
    for block in 0..<6 {
      try CompactionTests.write(disk, block * (2 << 20) + 4096, 4096, seed: UInt64(block))
    }
    for block in 1..<6 { try CompactionTests.write(disk, block * (2 << 20), 2 << 20, seed: UInt64(block)) }
    try CompactionTests.write(disk, 4096, [UInt8](repeating: 0, count: 4096))
    try disk.finishWriting()
    // Headers, log, metadata, block table: a MiB each; five blocks; no bitmap.
    #expect(try CompactionTests.compact(chain, 4).size == UInt64(4 << 20 + 5 * (2 << 20)))
  }

  @Test("it ends where it is asked to, and can be run again", arguments: [CompactionTests.shape, vhd])
  func cancel(_ shape: DiskShape) throws {
    var looks = 0
    while true {
      let chain = try CompactionTests.filled(shape)
      let disk = try chain.open()
      try disk.zero(at: 0, length: UInt64(shape.blockSize))
      try disk.zero(at: UInt64(2 * shape.blockSize), length: UInt64(shape.blockSize))
      try disk.finishWriting()
      let expected = try CompactionTests.contents(disk)
      let left = Mutex(looks)
      let monitor = CompactionMonitor(
        expect: { _ in }, advance: { _ in },
        check: { () throws(ImageError) in
          let isOver = left.withLock { left in
            left -= 1
            return left < 0
          }
          if isOver { throw ImageError(.failed, errno: Errno(rawValue: 125), "cancelled") }
        })
      let choice = CompactionChoice(scansForZeros: true, usesTables: true, trims: false, moves: true)
      do {
        let plan = try disk.planCompaction(choice, free: .none, monitor)
        _ = try disk.compact(plan, batch: UInt64(shape.blockSize), monitor)
        break
      } catch {
        #expect(error.errno == Errno(rawValue: 125))
      }
      #expect(!disk.isWriting && chain.files[0].pendingCount == 0, "closed cleanly")
      #expect(try CompactionTests.contents(try chain.open()) == expected)
      let after = try CompactionTests.compact(chain, 4).size
      #expect(after < 4 << 20 + UInt64(5 * shape.blockSize))
      looks += 1
    }
    #expect(looks > 8)
  }

  @Test("progress is told in small steps, and ends where it was expected to")
  func progress() throws {
    var shape = CompactionTests.shape
    shape.blockSize = 8 << 20
    shape.size = 128 << 20
    let chain = try Chain(shape)
    let disk = try chain.open()
    for block in 0..<16 { try CompactionTests.write(disk, block * (8 << 20), 4096, seed: UInt64(block)) }
    for block in [0, 3, 4, 9] {
      try CompactionTests.write(disk, block * (8 << 20), [UInt8](repeating: 0, count: 4096))
    }
    try disk.finishWriting()
    let bytes = Mutex((done: UInt64(0), total: UInt64(0), largest: UInt64(0)))
    let monitor = CompactionMonitor(
      expect: { more in bytes.withLock { $0.total += more } },
      advance: { more in
        bytes.withLock { bytes in
          bytes.done += more
          bytes.largest = max(bytes.largest, more)
        }
      }, check: {})
    let choice = CompactionChoice(scansForZeros: true, usesTables: true, trims: false, moves: true)
    _ = try disk.compact(try disk.planCompaction(choice, free: .none, monitor), monitor)
    let (done, total, largest) = bytes.withLock { $0 }
    #expect(done == total && total == (16 + 4) * 8 << 20, "\(done) of \(total)")
    #expect(largest <= 8 << 20)
  }

  @Test(
    "the host fails at any moment: nothing is lost, and it can be run again", arguments: ChainKind.allCases)
  func faults(_ kind: ChainKind) throws {
    let shape = FaultTests.shape(kind)
    let block = shape.blockSize
    let actions: [Action] = [
      .write(offset: 0, length: 3 * block), .zero(offset: 0, length: block),
      .compact(mode: 3, offset: 0, length: 0),
      .write(offset: 4096, length: 4096), .writeZeros(offset: block, length: block),
      .compact(mode: 0, offset: 4096, length: 2048), .compact(mode: 2, offset: block / 2, length: 2 * block),
      .write(offset: 0, length: 512), .compact(mode: 4, offset: 0, length: 0),
    ]
    let history = History(shape: shape, steps: actions.enumerated().map { Step($1, seed: UInt64($0 + 1)) })
    var failures = 0
    for (index, fault) in FaultKind.all(kind).enumerated() {
      let before = FaultTests.before(kind, shape, isKilled: index % 2 == 1)
      var sweep = try FaultSweep(before: before, history, fault)
      let step = max(1, sweep.count / 12)
      for number in stride(from: index % step, to: sweep.count, by: step) {
        guard let finding = sweep.run(number) else { continue }
        Issue.record("\(kind), \(finding)")
        failures += 1
        if failures > 3 { return }
      }
    }
  }
}
