import Storage
import TestSupport
import Testing

@testable import VHD

/// A child with two parents to choose from, in memory, and what it reads as over either.
struct Reparented {
  static let size: UInt64 = 3 << 20
  static let blockSize: UInt32 = 512 << 10

  /// How the child's file is before.
  enum Start: String, CaseIterable, Sendable {
    case asMade, withoutBlocks
    /// The room for locators' data holds the old ones just so, and is followed by the first block at once.
    case littleRoom
    /// The header lies behind the blocks, and nothing like one in the usual place: another program's choice.
    case headerElsewhere
    /// A change of the parent was cut off: both footers name a header behind the blocks.
    case headerLeftBehind
    /// Likewise, but its locators lead to the room of those of the header in the usual place: each to the other's.
    case headerAlone
    /// A header was left behind, and the one that should replace it was half written.
    case headerTorn
    /// Locators whose room lies on the footer, on the header, on the table, on blocks, and beyond the end of the file.
    case wrongRoom
  }

  let old: VHDImage
  let new: VHDImage
  let child: SparseBytes
  let contents: [UInt8]
  /// Bytes of the file if nothing is left behind the blocks; nil where that is not to be expected.
  let closedSize: UInt64?

  init(_ start: Start) throws {
    var generator = SeededGenerator(seed: 17)
    let below = pattern(Int(Reparented.size), &generator)
    func parent() throws -> VHDImage {
      let double = RecordedFile()
      let file = HostFile(path: "parent", double: double)
      try VHDImage.create(
        file, VHDCreation(kind: .fixed(reserve: false), virtualSize: Reparented.size))
      try below.withUnsafeBytes { try file.write($0, at: 0) }
      return try VHDImage(file)
    }
    (old, new) = (try parent(), try parent())
    let double = RecordedFile()
    let file = HostFile(path: "child", double: double)
    try VHDImage.create(
      file,
      VHDCreation(
        kind: .differencing(parent: Reparented.reference(old, "old")), virtualSize: Reparented.size,
        blockSize: Reparented.blockSize))
    if start == .littleRoom || start == .wrongRoom {
      try Reparented.edit(double) { if $0.platform != .none { $0.dataSpace = 512 } }
    }
    if start != .withoutBlocks {
      let image = try VHDImage(file)
      try image.beginWriting()
      let disk = SmallDisk([image, old])
      try disk.write(pattern(100_000, &generator), at: 700_000)
      try disk.write(pattern(5000, &generator), at: 2_000_000)
      try image.finishWriting()
    }
    closedSize = start == .headerElsewhere || start == .wrongRoom ? nil : double.contents.size
    switch start {
    case .asMade, .withoutBlocks, .littleRoom: break
    case .headerElsewhere: try Reparented.moveHeader(double, keepsCookie: false)
    case .headerLeftBehind: try Reparented.moveHeader(double, keepsCookie: true)
    case .headerAlone: try Reparented.moveHeader(double, keepsCookie: true, swapsLocators: true)
    case .headerTorn:
      try Reparented.moveHeader(double, keepsCookie: true)
      try file.writeZeros(at: 900, length: 20)
    case .wrongRoom:
      let mac = ParentLocator.Platform(rawValue: 0x4D61_6320)
      var places: [UInt64] = [0, 8192, 1024, 1 << 40, .max - 511, .max]
      try Reparented.edit(double) { locator in
        if locator.platform == .none, let place = places.popLast() {
          locator = ParentLocator(platform: mac, dataSpace: .max, dataLength: 16, dataOffset: place)
        }
        locator.dataSpace = .max
      }
    }
    child = double.contents
    contents = try SmallDisk([try VHDImage(file), old]).read(0, Int(Reparented.size))
  }

  static func reference(_ image: VHDImage, _ name: String) -> VHDParent {
    VHDParent(
      uniqueID: image.footer.uniqueID, timeStamp: 0, relativePath: "../\(name).vhd",
      absolutePath: "/images/\(name).vhd")
  }

  private static func bytes(_ double: RecordedFile, _ offset: UInt64, _ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    _ = bytes.withUnsafeMutableBytes { double.contents.read(into: $0, at: offset) }
    return bytes
  }

  private static func edit(_ double: RecordedFile, _ change: (inout ParentLocator) -> Void) throws {
    var header = bytes(double, 512, 1024)
    header.withUnsafeMutableBytes { bytes in
      for index in 0..<8 {
        var locator = ParentLocator(UnsafeRawBufferPointer(bytes), at: 576 + 24 * index)
        change(&locator)
        locator.encode(into: bytes, at: 576 + 24 * index)
      }
      Checksum.store(in: bytes, field: DynamicHeader.checksumField)
    }
    try header.withUnsafeBytes { try double.write($0, at: 512) }
  }

  /// The header, and its locators' data, behind the blocks; or the header alone, and the data change places.
  private static func moveHeader(
    _ double: RecordedFile, keepsCookie: Bool, swapsLocators: Bool = false
  ) throws {
    let end = double.contents.size
    var header = bytes(double, 512, 1024)
    let locators = header.withUnsafeBytes { header in
      (0..<2).map { ParentLocator(header, at: 576 + 24 * $0) }
    }
    let data = locators.map { bytes(double, $0.dataOffset, Int($0.dataLength)) }
    var offset = end
    for index in 0..<2 {
      var locator = locators[index]
      locator.dataOffset = swapsLocators ? locators[1 - index].dataOffset : offset
      locator.dataSpace = 512
      try data[index].withUnsafeBytes { try double.write($0, at: locator.dataOffset) }
      header.withUnsafeMutableBytes { locator.encode(into: $0, at: 576 + 24 * index) }
      if !swapsLocators { offset += 512 }
    }
    header.withUnsafeMutableBytes { Checksum.store(in: $0, field: DynamicHeader.checksumField) }
    try header.withUnsafeBytes { try double.write($0, at: offset) }
    var footer = bytes(double, 0, 512)
    footer.withUnsafeMutableBytes { bytes in
      bytes.storeBigEndian(offset, at: 16)
      Checksum.store(in: bytes, field: Footer.checksumField)
    }
    try footer.withUnsafeBytes { try double.write($0, at: 0) }
    try footer.withUnsafeBytes { try double.write($0, at: offset + 1024) }
    if !keepsCookie { try double.punch(at: 512, length: 1024) }
    try double.flush()
  }

  // MARK: - Doing it

  /// Gives the child in `double` the new parent, and closes it.
  func run(_ double: RecordedFile, _ reference: VHDParent? = nil) throws(ImageError) {
    let file = HostFile(path: "child", double: double)
    let image = try VHDImage(file)
    try image.beginWriting()
    try image.replaceParent(reference ?? Reparented.reference(new, "new"))
    try Reparented.close(double)
  }

  /// A session in which nothing is written.
  static func close(_ double: RecordedFile) throws(ImageError) {
    let image = try VHDImage(HostFile(path: "child", double: double))
    try image.beginWriting()
    try image.finishWriting()
  }

  // MARK: - Looking

  struct Flaw: Error, CustomStringConvertible { let description: String }

  /// Opens and reads a state. Returns whether the child has the new parent; throws where anything is not as it must be.
  @discardableResult
  func look(_ state: SparseBytes, isClosed: Bool = false) throws -> Bool {
    let image = try VHDImage(HostFile(path: "child", double: RecordedFile(state), isWritable: false))
    let findings = try image.validate().all
    if let finding = findings.first(where: { $0.severity == .damage || isClosed }) {
      throw Flaw(description: "\(finding)")
    }
    guard let named = image.parent else { throw Flaw(description: "it has no parent") }
    guard let isNew = [old, new].firstIndex(where: { $0.footer.uniqueID == named.parentUniqueID }) else {
      throw Flaw(description: "it names a parent that there is not")
    }
    let name = isNew == 1 ? "new" : "old"
    guard named.relativePaths == [#"..\\#(name).vhd"#],
      named.otherPaths == [#"\images\\#(name).vhd"#, #"\images\\#(name).vhd"#], named.parentTimeStamp == 0
    else { throw Flaw(description: "its paths do not belong to its parent: \(named)") }
    guard try SmallDisk([image, isNew == 1 ? new : old]).read(0, contents.count) == contents else {
      throw Flaw(description: "it reads wrong")
    }
    try lookAsOthers(state)
    return isNew == 1
  }

  /// Other readers go by the copy at the beginning alone: if that is whole, so must be what it names.
  private func lookAsOthers(_ state: SparseBytes) throws {
    var bytes = [UInt8](repeating: 0, count: 1024)
    _ = bytes.withUnsafeMutableBytes {
      state.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<512]), at: 0)
    }
    guard
      case .valid(let copy) = bytes.withUnsafeBytes({
        Footer.examine(UnsafeRawBufferPointer(rebasing: $0[..<512]))
      })
    else { return }
    _ = bytes.withUnsafeMutableBytes { state.read(into: $0, at: copy.dataOffset) }
    guard bytes.withUnsafeBytes({ DynamicHeader($0) }) != nil else {
      throw Flaw(description: "the copy of the footer names a header that is not whole")
    }
  }

  /// Goes on from a state: a session mends what was cut off, and one more leaves nothing behind.
  func goOn(_ state: SparseBytes) throws {
    let wasNew = try look(state)
    let double = RecordedFile(state)
    try Reparented.close(double)
    guard try look(double.contents, isClosed: true) == wasNew else {
      throw Flaw(description: "mended, it has another parent than before")
    }
    try Reparented.close(double)
    try look(double.contents, isClosed: true)
    guard let closedSize else { return }
    guard double.contents.size <= closedSize else {
      throw Flaw(description: "mended, it has \(double.contents.size) bytes instead of \(closedSize)")
    }
    let image = try VHDImage(HostFile(path: "child", double: double))
    guard image.footer.dataOffset == 512 else { throw Flaw(description: "the header is at another place") }
  }
}

extension RecordedEpoch {
  /// How many of the changes write a footer.
  var footerWrites: Int {
    entries.count { entry in
      guard case .write(_, let bytes) = entry.change else { return false }
      return bytes.starts(with: "conectix".utf8)
    }
  }

  /// Calls with every state that a power cut could leave: any of the changes, any of the sizes, and each change torn, with
  /// the others there or not.
  func forEachState(_ body: (CrashChoice) throws -> Void) throws {
    let (count, sizes) = (dataEntries.count, sizeEntries.count)
    precondition(count <= 8, "too many changes between two flushes for all of their subsets")
    for kept in 0..<(1 << count) {
      let fates = (0..<count).map { kept >> $0 & 1 == 1 ? CrashChoice.Fate.kept : .lost }
      for size in 0...sizes { try body(CrashChoice(fates: fates, sizes: size)) }
    }
    for torn in 0..<count {
      for seed in 0..<UInt64(6) {
        for others in [CrashChoice.Fate.kept, .lost] {
          var fates = [CrashChoice.Fate](repeating: others, count: count)
          fates[torn] = .torn(seed: seed)
          try body(CrashChoice(fates: fates, sizes: sizes))
        }
      }
    }
  }
}
