import GuestLayout
import Storage
import VHD

@testable import VHDX
@testable import VirtualDisk

extension FuzzTarget {
  /// A whole image: facts, map, reads, partitions, and a session in which it is written, closed and opened again.
  static let image = FuzzTarget(
    name: "image", subject: "a whole image: opened, read, written, closed, opened again",
    maximumLength: 32 << 10,
    run: { input in
      let image = SparseImage(decoding: input)
      var session = ImageSession(image)
      guard try session.open() else { return }
      try session.look()
      try session.work(image.operations)
    },
    form: .file([
      .vhdFooter, .vhdHeader, .vhdTable, .vhdLocators, .vhdxHeaders, .vhdxRegions, .vhdxMetadata, .vhdxTable,
      .vhdxLog,
    ]))
}

/// What is done with one image, beside a model of what must be read from it.
struct ImageSession {
  private let double: FuzzFile
  private var disk: VirtualDisk?
  private var leaf: Layer?
  /// Sectors of 512 bytes whose contents are known.
  private var known: [UInt64: [UInt8]] = [:]
  /// Sectors that could not be read before anything was changed, and were not written since: damage stays damage, and
  /// never becomes zeros or another place's bytes.
  private var unreadable: Set<UInt64> = []
  /// Sectors that were changed since the last success of a flush or close.
  private var unflushed: Set<UInt64> = []

  /// Before anything was changed the image had nothing to find fault with.
  private var isSound = false

  private static let sector: UInt64 = 512

  /// The last close succeeded.
  private var isClosed = false
  private let original: SparseImage

  init(_ image: SparseImage) {
    double = FuzzFile(image)
    original = double.contents
  }

  /// Opens the image on its parent; false where it is refused.
  mutating func open() throws -> Bool {
    (disk, leaf) = (nil, nil)
    let file = HostFile(path: "image", double: double)
    let before = double.contents
    let opened = answer { () throws(ImageError) -> (VirtualDisk, Layer) in
      let layer = try Layer(file)
      let parent = HostFile(path: "parent", double: FuzzFile(SeedImages.parent), isWritable: false)
      let disk = try VirtualDisk(files: layer.isDifferencing ? [file, parent] : [file])
      return (disk, disk.leaf)
    }
    try require(double.contents == before, "opening the image changed it")
    (disk, leaf) = (opened?.0, opened?.1)
    return disk != nil
  }

  /// What a mount would show without a change.
  mutating func look() throws {
    guard let disk, let leaf else { return }
    let before = double.contents
    try require(disk.size > 0 && disk.size <= UInt64(Int64.max), "a disk of \(disk.size) bytes")
    _ = answer { () throws(ImageError) in try leaf.facts() }
    _ = leaf.warnings
    _ = leaf.recordedParent?.allPaths
    try map(disk)
    isSound = findings()?.isSound ?? false
    _ = answer { () throws(ImageError) in
      try PartitionTable.read(diskSize: disk.size, sectorSize: disk.logicalSectorSize) {
        (offset, count) throws(ImageError) in
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        defer { buffer.deallocate() }
        _ = try disk.read(into: buffer, at: offset, mayWait: true)
        return Array(buffer)
      }
    }
    try require(double.contents == before, "looking at the image changed it")
  }

  private func map(_ disk: VirtualDisk) throws {
    var expected: UInt64 = 0
    var left = 1000
    var broken: String?
    _ = answer { () throws(ImageError) in
      try disk.forEachMapRun(from: 0, length: disk.size) { run in
        if run.offset != expected || run.length == 0 || run.length > disk.size - run.offset {
          broken = "a run of \(run.length) bytes at \(run.offset), expected at \(expected)"
        }
        if let place = run.fileOffset, place > UInt64(Int64.max) - run.length { broken = "data at \(place)" }
        expected = run.offset &+ run.length
        left -= 1
        return left > 0 && broken == nil
      }
    }
    try require(broken == nil, "the map: \(broken ?? "")")
  }

  // MARK: - Writing

  mutating func work(_ operations: [Operation]) throws {
    guard let disk, let leaf else { return }
    let blockSize = ImageSession.blockSize(leaf)
    // Before anything is changed: what will be written, and what lies beside it.
    for operation in operations { learn(around: operation.range(size: disk.size, blockSize: blockSize)) }
    learn(around: 0..<1)
    learn(around: (disk.size - 1)..<disk.size)
    for operation in operations {
      try perform(operation, blockSize)
      guard self.disk != nil else { return }
    }
    try compare("in the session")
    finish()
    guard try open() else {
      throw BrokenPromise(description: "the image cannot be opened after it was closed")
    }
    try compare("after the image was opened again")
    try reparent()
    guard isSound, let after = findings() else { return }
    try require(after.isSound, "a sound image was damaged: \(after.all)")
    // Closed after a change, it is whole, whatever state a crash had left it in.
    if isClosed, double.contents != original {
      try require(after.isClean, "closed, but not clean: \(after.all)")
    }
  }

  /// A VHD says that another file is its parent, and is closed; what it shows over the one that it is given stays the same.
  private mutating func reparent() throws {
    guard case .vhd(let image)? = leaf, let old = image.parent else { return }
    let length = Int(image.file.path.utf8.count) + (known.count * 97) % 9000
    let parent = VHDParent(
      uniqueID: old.parentUniqueID, timeStamp: 0, relativePath: "./q.vhd",
      absolutePath: "/" + String(repeating: "d", count: length) + "/q.vhd")
    let isDone =
      answer { () throws(ImageError) -> Bool in
        try image.beginWriting()
        try image.replaceParent(parent)
        return true
      } != nil
    guard try open() else {
      throw BrokenPromise(description: "the image cannot be opened after its parent was changed")
    }
    if isDone, let leaf {
      try require(leaf.recordedParent?.relativePaths == [".\\q.vhd"], "the new parent is not recorded")
      isClosed =
        answer { () throws(ImageError) -> Bool in
          try leaf.beginWriting(.init(fileWriteGUID: .zero, dataWriteGUID: .zero))
          try leaf.finishWriting()
          return true
        } != nil
      guard try open() else {
        throw BrokenPromise(
          description: "the image cannot be opened after its parent was changed and it was closed")
      }
    }
    try compare("after its parent was changed")
  }

  /// What the image says of itself; nil where that cannot be told, or would take long.
  private func findings() -> ImageFindings? {
    guard let disk, let leaf else { return nil }
    if case .vhdx(let image) = leaf, image.regions.blockTable.length > 32 << 20 { return nil }
    return answer { () throws(ImageError) in try disk.validateLeaf() }
  }

  private mutating func perform(_ operation: Operation, _ blockSize: UInt64) throws {
    guard let disk else { return }
    let range = operation.range(size: disk.size, blockSize: blockSize)
    scanSpace()
    switch operation.action {
    case .write, .writeZeros:
      let isZero = operation.action == .writeZeros
      let bytes = (0..<range.count).map { isZero ? 0 : operation.seed &+ UInt8(truncatingIfNeeded: $0 / 7) }
      let isDone = bytes.withUnsafeBytes { buffer in
        answer { () throws(ImageError) in try disk.write(buffer, at: range.lowerBound, mayWait: true) }
          == true
      }
      note(range, isDone ? bytes : nil)
    case .zero, .zeroBlocks:
      let isDone =
        answer { () throws(ImageError) in
          try disk.zero(at: range.lowerBound, length: UInt64(range.count))
        } != nil
      note(range, isDone ? [UInt8](repeating: 0, count: range.count) : nil)
    case .flush:
      if answer({ () throws(ImageError) in try disk.flush() }) != nil { unflushed = [] }
    case .finish: finish()
    case .reopen:
      finish()
      guard try open() else {
        throw BrokenPromise(description: "the image cannot be opened after it was closed")
      }
    case .read: try compare(range)
    }
  }

  /// Looks through a long block table, which otherwise happens in the background once writing has begun: what two blocks
  /// claim is found then, and not before.
  private func scanSpace() {
    guard case .vhdx(let image)? = leaf, image.geometry.entries * 8 > VHDXImage.quickTableLength else {
      return
    }
    _ = answer { () throws(ImageError) in
      try image.beginWriting()
      try image.scanSpace()
    }
  }

  private mutating func finish() {
    guard let disk else { return }
    isClosed = answer({ () throws(ImageError) in try disk.finishWriting() }) != nil
    if isClosed {
      unflushed = []
    } else {
      // On a full host nothing is promised of what was not flushed.
      for sector in unflushed { known[sector] = nil }
      unflushed = []
    }
  }

  private static func blockSize(_ leaf: Layer) -> UInt64 {
    switch leaf {
    case .vhdx(let image): image.blockSize
    case .vhd(let image): image.blockSize ?? 1 << 20
    case .raw: 1 << 20
    }
  }

  // MARK: - The model

  private mutating func learn(around range: Range<UInt64>) {
    guard let disk else { return }
    let first = max(range.lowerBound, 4096) - 4096
    let last = min(min(range.upperBound, range.lowerBound + (128 << 10)) + 4096, disk.size)
    let sectors = (first / ImageSession.sector)...((last - 1) / ImageSession.sector)
    if let whole = read(sectors) {
      for (index, sector) in sectors.enumerated() {
        known[sector] = Array(whole[(index * 512)..<min((index + 1) * 512, whole.count)])
      }
    } else {
      for sector in sectors {
        known[sector] = read(sector...sector)
        if known[sector] == nil { unreadable.insert(sector) }
      }
    }
  }

  private func read(_ sectors: ClosedRange<UInt64>) -> [UInt8]? {
    guard let disk else { return nil }
    let start = sectors.lowerBound * ImageSession.sector
    let end = min((sectors.upperBound + 1) * ImageSession.sector, disk.size)
    guard start < end else { return nil }
    // Not zero, so that what is left unfilled shows.
    var bytes = [UInt8](repeating: 0xEE, count: Int(end - start))
    let isDone = bytes.withUnsafeMutableBytes { buffer in
      answer { () throws(ImageError) in try disk.read(into: buffer, at: start, mayWait: true) } == true
    }
    return isDone ? bytes : nil
  }

  /// Notes what was written; nil: it is not known what a failed change has left.
  private mutating func note(_ range: Range<UInt64>, _ bytes: [UInt8]?) {
    for sector in (range.lowerBound / ImageSession.sector)...((range.upperBound - 1) / ImageSession.sector) {
      let start = sector * ImageSession.sector
      let part = max(range.lowerBound, start)..<min(range.upperBound, start + ImageSession.sector)
      unflushed.insert(sector)
      unreadable.remove(sector)
      guard let bytes else {
        known[sector] = nil
        continue
      }
      let new = bytes[Int(part.lowerBound - range.lowerBound)..<Int(part.upperBound - range.lowerBound)]
      if part.count == 512 {
        known[sector] = Array(new)
      } else if known[sector] != nil {
        let from = Int(part.lowerBound - start)
        known[sector]?.replaceSubrange(from..<(from + part.count), with: new)
      }
    }
  }

  private func compare(_ range: Range<UInt64>) throws {
    for sector in (range.lowerBound / ImageSession.sector)...((range.upperBound - 1) / ImageSession.sector) {
      try compare(sector, "in the session")
    }
  }

  private func compare(_ when: String) throws {
    for sector in known.keys.sorted() { try compare(sector, when) }
    for sector in unreadable.sorted() where read(sector...sector) != nil {
      throw BrokenPromise(description: "sector \(sector), which was damaged, can be read \(when)")
    }
  }

  private func compare(_ sector: UInt64, _ when: String) throws {
    guard let expected = known[sector] else { return }
    guard let found = read(sector...sector) else {
      throw BrokenPromise(description: "sector \(sector) could be read before, and cannot \(when)")
    }
    guard found == expected else {
      let place = zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? -1
      throw BrokenPromise(description: "sector \(sector) reads wrong from byte \(place) on, \(when)")
    }
  }
}
