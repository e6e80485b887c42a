import Storage
import TestSupport
import Testing

@testable import VHDX

/// Changing what a file says of its disk, cut off at every change and every flush.
@Suite("Metadata and the place of the block table change at one moment")
struct MetadataTests {
  private static let userID = GUID(bytes: SIMD16(repeating: 0x5A))

  private static func start(size: UInt64 = 8 << 20) throws -> SparseBytes {
    let double = RecordedFile()
    let file = HostFile(path: "image", double: double)
    try VHDXImage.create(file, VHDXCreation(kind: .dynamic, virtualSize: size, blockSize: 1 << 20))
    let image = try VHDXImage(file)
    try image.beginWriting()
    var items = try image.currentMetadata()
    items.append(
      MetadataItem(
        id: userID, isUser: true, isVirtualDisk: true, isRequired: false, data: pattern(seed: 1, count: 5000))
    )
    try image.replaceMetadata(items)
    let run = try image.prepareWrite(at: 3 << 20, limit: 4096, mayAllocate: true, mayWait: true)
    try file.write(pattern(seed: 2, count: 4096), at: run.fileOffset)
    try image.finishWriting()
    return double.contents
  }

  /// Does it again and again, each time with less power; looks at what is left.
  private static func cutOff(
    _ start: SparseBytes, _ body: (VHDXImage) throws -> Void, _ check: (SparseBytes, String) throws -> Void
  ) throws -> Int {
    var generator = SeededGenerator(seed: 4)
    var changes = 0
    while true {
      let double = RecordedFile(start)
      let power = PowerSupply()
      double.connect(power)
      power.last(for: changes)
      do {
        try body(try VHDXImage(HostFile(path: "image", double: double)))
      } catch let error as ImageError {
        guard error.chain.contains(where: { $0.errno == .ioError }) else { throw error }
        try check(double.contents, "killed after \(changes)")
        for _ in 0..<6 { try check(double.crashState(&generator), "power cut after \(changes)") }
        changes += 1
        continue
      }
      try check(double.contents, "done")
      return changes
    }
  }

  private static func block(_ image: VHDXImage) throws -> [UInt8] {
    let run = try image.locate(3 << 20, limit: 4096, mayWait: true)
    guard run.kind == .data || run.kind == .logged else { throw TestFailure("the block is \(run.kind)") }
    var bytes = [UInt8](repeating: 0, count: 4096)
    try bytes.withUnsafeMutableBytes { try image.readLogged(into: $0, at: run.fileOffset) }
    return bytes
  }

  @Test func itemsChangeTogether() throws {
    let start = try MetadataTests.start()
    let old = try VHDXImage(HostFile(path: "image", double: RecordedFile(start))).metadataItems
    var new = old
    // Longer than an entry of the log holds.
    let index = try #require(new.firstIndex { $0.isUser })
    new[index].data = pattern(seed: 7, count: 700_000)
    new.removeAll { $0.id == DiskParameters.Item.physicalSectorSize }
    new.append(
      MetadataItem(
        id: DiskParameters.Item.physicalSectorSize, isUser: false, isVirtualDisk: true, isRequired: true,
        data: [0, 2, 0, 0]))
    var kinds: Set<Bool> = []
    let count = try MetadataTests.cutOff(start) { image in
      try image.beginWriting()
      try image.replaceMetadata(new)
      #expect(try image.currentMetadata() == new)
      try image.finishWriting()
    } _: { state, when in
      let image = try VHDXImage(HostFile(path: "image", double: RecordedFile(state)))
      guard image.metadataItems == old || image.metadataItems == new else {
        throw TestFailure("\(when), the items are neither the old ones nor the new ones")
      }
      kinds.insert(image.metadataItems == new)
      #expect(try MetadataTests.block(image) == pattern(seed: 2, count: 4096))
    }
    #expect(count > 8 && kinds.count == 2)
  }

  @Test func theBlockTableMoves() throws {
    // 131,072 entries fill the region; a larger disk needs another.
    let start = try MetadataTests.start()
    let larger: UInt64 = 140_000 << 20
    let count = try MetadataTests.cutOff(start) { image in
      try image.beginWriting()
      try image.makeRoom(forSize: larger)
      try image.finishWriting()
    } _: { state, when in
      let double = RecordedFile(state)
      let image = try VHDXImage(HostFile(path: "image", double: double))
      #expect(image.virtualSize == 8 << 20, "\(when)")
      #expect(try MetadataTests.block(image) == pattern(seed: 2, count: 4096), "\(when)")
      let damage = try image.validate().all.filter { $0.severity == .damage }
      #expect(damage.isEmpty, "\(when): \(damage)")
      // And it can be gone on with.
      try image.beginWriting()
      try image.makeRoom(forSize: larger)
      try image.finishWriting()
      let grown = try VHDXImage(
        HostFile(path: "image", double: double), tablePages: Tables.cachePages, presentedSize: larger)
      #expect(try MetadataTests.block(grown) == pattern(seed: 2, count: 4096), "\(when)")
      #expect(try grown.locate(larger - 512, limit: 512, mayWait: true).kind == .zero, "\(when)")
    }
    #expect(count > 8)
  }

  @Test func itemsWithoutRoomAreRefused() throws {
    let double = RecordedFile(try MetadataTests.start())
    let image = try VHDXImage(HostFile(path: "image", double: double))
    try image.beginWriting()
    let old = try image.currentMetadata()
    var new = old
    for number in 0..<2 {
      new.append(
        MetadataItem(
          id: GUID(bytes: SIMD16(repeating: UInt8(number))), isUser: true, isVirtualDisk: false,
          isRequired: false, data: pattern(seed: 1, count: 600_000)))
    }
    let error = #expect(throws: ImageError.self) { try image.replaceMetadata(new) }
    #expect(error?.returnValue == .notSupported)
    #expect(try image.currentMetadata() == old)
    try image.finishWriting()
  }

  @Test func unknownKeysOfALocatorStay() throws {
    var locator = ParentLocator(linkage: .random(), relativePath: ".\\a.vhdx")
    locator.otherValues = ["some_key": "some value", "another": ""]
    let again = try ParentLocator(locator.encode(file: "image"), file: "image", at: 0)
    #expect(again == locator)
  }
}
