import Storage
import SystemPackage
import TestSupport
import Testing

@testable import ChangeTracking

@Suite("Change tracking refuses rather than guesses")
struct RefusalTests {
  /// Two points and writes between and after them; closed.
  static func closed(isVHD: Bool = false) throws -> TrackedImage {
    var image = try TrackedImage(diskSize: 1 << 30, isVHD: isVHD)
    try image.write(0, 4096)
    try image.point("one")
    try image.write(1 << 20, 50_000)
    try image.point("two")
    try image.write(900 << 20, 5000)
    try image.close()
    return image
  }

  static func refusal(_ body: () throws -> Void) -> ImageError? {
    do { try body() } catch { return error as? ImageError }
    return nil
  }

  static func refusal(_ image: TrackedImage, _ now: ImageState, _ boot: GUID? = nil) -> ImageError? {
    refusal { _ = try TrackedImage.open(image.file, now, boot ?? image.boot) }
  }

  @Test("An image that another program wrote", arguments: [false, true])
  func foreign(isVHD: Bool) throws {
    let image = try RefusalTests.closed(isVHD: isVHD)
    #expect(RefusalTests.refusal(image, image.image) == nil)
    var changes: [(inout ImageState) -> Void] = [
      { $0.fileSize += 512 }, { $0.modified += 1 }, { $0.diskSize *= 2 },
    ]
    if !isVHD {
      changes.append { $0.writes?.fileWriteGUID = .random() }
      changes.append { $0.writes?.dataWriteGUID = .random() }
    }
    for (number, change) in changes.enumerated() {
      var now = image.image
      change(&now)
      let error = RefusalTests.refusal(image, now)
      #expect(error?.errno == Errno(rawValue: 116) && error?.returnValue == .invalidState, "change \(number)")
      #expect(error?.sentence.contains("take a full copy") == true)
    }
  }

  @Test("An older copy of a VHDX from the same session; a copy's time may lack what is behind the second")
  func olderCopy() throws {
    var image = try RefusalTests.closed()
    try image.write(0, 4096)
    image.image.modified = 7_654_321_098
    try image.close()
    var copy = image.image
    copy.identity = FileIdentity(device: 1, inode: 99)
    copy.modified = 7_000_000_000
    #expect(RefusalTests.refusal(image, copy) == nil)
    copy.modified = 6_000_000_000
    #expect(RefusalTests.refusal(image, copy) == nil)
    copy.modified = 5_000_000_000
    #expect(RefusalTests.refusal(image, copy)?.errno == Errno(rawValue: 116))
    copy.modified = .min
    #expect(RefusalTests.refusal(image, copy)?.errno == Errno(rawValue: 116))
  }

  @Test("A record with an id that is none, made by somebody who knows checksums")
  func hostileID() throws {
    for id in [[UInt8](repeating: 0xFF, count: 64), [0x0A], []] {
      let image = try RefusalTests.closed()
      var contents = image.file.contents
      let page = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
      defer { page.deallocate() }
      for offset in TrackingFormat.headerOffsets {
        _ = contents.read(into: page, at: offset)
        guard var header = TrackingHeader(UnsafeRawBufferPointer(page)) else { continue }
        let length = Int(header.pointCount) * TrackingFormat.recordSize
        let place = TrackingFormat.catalogueOffsets[Int(header.catalogue)]
        guard length > 0 else { continue }
        ([UInt8(id.count)] + id).withUnsafeBytes { contents.write($0, at: place + 65) }
        var records = [UInt8](repeating: 0, count: length)
        records.withUnsafeMutableBytes { _ = contents.read(into: $0, at: place) }
        header.catalogueChecksum = records.withUnsafeBytes { Checksum.of($0) }
        header.encode(into: page)
        contents.write(UnsafeRawBufferPointer(page), at: offset)
      }
      let error = RefusalTests.refusal {
        _ = try TrackedImage.open(RecordedFile(contents), image.image, image.boot)
      }
      #expect(error?.returnValue == .wrongDataType, "\(id)")
    }
  }

  @Test("A region table whose sequence cannot be counted up from")
  func hostileSequence() throws {
    var image = try RefusalTests.closed()
    try image.write(0, 4096)
    var contents = image.file.contents
    let slot = UnsafeMutableRawBufferPointer.allocate(byteCount: RegionMarks.slotSize, alignment: 8)
    defer { slot.deallocate() }
    for offset in TrackingFormat.regionOffsets {
      _ = contents.read(into: slot, at: offset)
      slot.storeLittleEndian(UInt64.max - offset, at: 8)
      slot.storeLittleEndian(Checksum.of(UnsafeRawBufferPointer(slot), zeroingFieldAt: 4), at: 4)
      contents.write(UnsafeRawBufferPointer(slot), at: offset)
    }
    image.file = RecordedFile(contents)
    // Killed, and goes on.
    try image.reopen()
    try image.write(600 << 20, 4096)
    #expect(try image.problem(image.tracker, isExact: true) == nil)
    // A power cut: what its tables said does not count.
    let cut = try TrackedImage.open(RecordedFile(image.file.contents), image.image, .random())
    #expect(try image.problem(cut, isExact: false) == nil)
  }

  @Test("A region table that is damaged again and again never gives way to an older one")
  func sequence() throws {
    var image = try RefusalTests.closed()
    for round in 0..<3 {
      try image.write(0, 4096)
      var contents = image.file.contents
      // The newer table.
      let sequences = TrackingFormat.regionOffsets.map { offset -> UInt64 in
        var bytes = [UInt8](repeating: 0, count: 8)
        bytes.withUnsafeMutableBytes { _ = contents.read(into: $0, at: offset + 8) }
        return bytes.withUnsafeBytes { $0.littleEndian(at: 0) }
      }
      let newer = TrackingFormat.regionOffsets[sequences[1] > sequences[0] ? 1 : 0]
      [UInt8(0xAA)].withUnsafeBytes { contents.write($0, at: newer + 100) }
      image.file = RecordedFile(contents)
      try image.reopen()
      for place in 1...(3 - round) { try image.write(UInt64(place) * (50 << 20), 4096) }
      let reread = try TrackingContents(HostFile(path: "disk.tracking", double: image.file))
      let marks = image.tracker.state.withLock { $0.marks }
      #expect(reread.marks == marks, "round \(round)")
      try image.close()
      try image.reopen()
    }
  }

  @Test("An image that was copied while it was in use; a closed one may be copied")
  func copied() throws {
    var image = try RefusalTests.closed()
    var copy = image.image
    copy.identity = FileIdentity(device: 1, inode: 99)
    #expect(RefusalTests.refusal(image, copy) == nil)
    try image.write(0, 512)
    copy.writes = image.image.writes
    #expect(RefusalTests.refusal(image, copy)?.sentence.contains("copied") == true)
    // The device's number may be another after a reboot, not before it.
    copy.identity = FileIdentity(device: 2, inode: 5)
    #expect(RefusalTests.refusal(image, copy)?.sentence.contains("copied") == true)
    #expect(RefusalTests.refusal(image, copy, .random()) == nil)
  }

  @Test("A VHD that was not closed, unless nobody else can have written it")
  func uncleanVHD() throws {
    var image = try RefusalTests.closed(isVHD: true)
    try image.write(0, 512)
    let error = RefusalTests.refusal(image, image.image)
    #expect(error?.errno == Errno(rawValue: 116) && error?.sentence.contains("sole-writer") == true)
    let tracker = try ChangeTracker(
      HostFile(path: "disk.tracking", double: image.file), image: image.image, boot: image.boot,
      isSoleWriter: true)
    #expect(try image.problem(tracker, isExact: true) == nil)
  }

  @Test("A point that is not known, or was dropped; an id is never given out twice")
  func unknownPoint() throws {
    var image = try RefusalTests.closed()
    let id = image.changed[0].id
    try image.drop(0)
    for limit in ["three", "one", id, ""] {
      let error = RefusalTests.refusal { _ = try ChangeCursor(image.tracker, since: limit) }
      #expect(error?.errno == Errno(rawValue: 6) && error?.returnValue == .objectNotFound, "\(limit)")
    }
    try image.point("one")
    #expect(image.changed.last?.id != id)
    #expect(RefusalTests.refusal { _ = try ChangeCursor(image.tracker, since: id) } != nil)
  }

  @Test("A record that was switched off, for ever")
  func off() throws {
    let image = try RefusalTests.closed()
    try image.tracker.switchOff()
    let error = RefusalTests.refusal(image, image.image)
    #expect(error?.errno == .notPermitted && error?.returnValue == .invalidState)
    #expect(
      RefusalTests.refusal { _ = try ChangeCursor(image.tracker, since: "one") }?.errno == .notPermitted)
  }

  @Test("A newer version, and what is no tracking file")
  func version() throws {
    let image = try RefusalTests.closed()
    var contents = image.file.contents
    let version: [UInt8] = [2, 0, 0, 0]
    for offset in TrackingFormat.headerOffsets {
      version.withUnsafeBytes { contents.write($0, at: offset + 8) }
    }
    let newer = RefusalTests.refusal {
      _ = try TrackedImage.open(RecordedFile(contents), image.image, image.boot)
    }
    #expect(newer?.returnValue == .notSupported && newer?.sentence.contains("version 2") == true)
    let empty = RefusalTests.refusal { _ = try TrackedImage.open(RecordedFile(), image.image, image.boot) }
    #expect(empty?.returnValue == .wrongDataType)
  }

  @Test("A bit that was flipped anywhere: refused, or nothing is missing", arguments: [false, true])
  func flippedBits(isOpen: Bool) throws {
    var image = try RefusalTests.closed()
    if isOpen { try image.write(500 << 20, 4096) }
    let contents = image.file.contents
    var generator = SeededGenerator(seed: 9)
    var places: [UInt64] = []
    // Every byte that means something, and some between them.
    for start in [0, 4096] as [UInt64] { places += (0..<200).map { start + $0 } }
    for start in [8192, 20480] as [UInt64] {
      places += (0..<40).map { start + $0 } + (4096..<4104).map { start + $0 }
    }
    for start in TrackingFormat.catalogueOffsets { places += (0..<512).map { start + $0 } }
    places += (0..<64).map { TrackingFormat.chunksOffset + $0 }
    for slot in UInt32(0)..<6 {
      places += (0..<32).map { TrackingFormat.blockOffset(slot) + $0 }
      for _ in 0..<200 {
        places.append(TrackingFormat.blockOffset(slot) + UInt64.random(in: 0..<4096, using: &generator))
      }
    }
    var refused = 0
    for place in places {
      for boot in [image.boot, .random()] {
        var flipped = contents
        var byte: [UInt8] = [0]
        byte.withUnsafeMutableBytes { _ = contents.read(into: $0, at: place) }
        byte[0] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        byte.withUnsafeBytes { flipped.write($0, at: place) }
        do {
          let tracker = try TrackedImage.open(RecordedFile(flipped), image.image, boot)
          if let problem = try image.problem(tracker, isExact: false) {
            Issue.record("a flipped bit at \(place): \(problem)")
          }
        } catch is ImageError {
          refused += 1
        }
      }
    }
    #expect(refused > places.count / 4)
  }

  @Test("A file that was cut anywhere", arguments: [false, true])
  func cut(isOpen: Bool) throws {
    var image = try RefusalTests.closed()
    if isOpen { try image.write(500 << 20, 4096) }
    let size = image.file.contents.size
    for length in stride(from: UInt64(0), to: size, by: 2048 + 64 * 512) {
      for boot in [image.boot, .random()] {
        var contents = image.file.contents
        contents.resize(to: length)
        let error = RefusalTests.refusal {
          _ = try TrackedImage.open(RecordedFile(contents), image.image, boot)
        }
        #expect(error?.returnValue == .wrongDataType, "cut to \(length)")
      }
    }
  }

  @Test(
    "A host that cannot keep the record: it is given up, durably, or the write fails",
    arguments: [false, true])
  func fullHost(isStrict: Bool) throws {
    var image = try RefusalTests.closed()
    let tracker = try ChangeTracker(
      HostFile(path: "disk.tracking", double: image.file), image: image.image, boot: image.boot,
      isStrict: isStrict)
    image.tracker = tracker
    try image.begin()
    image.file.fail(image.file.operationCount, .fails(.noSpace))
    if isStrict {
      #expect { try image.tracker.note(5 << 20, 4096, mayWait: true) } throws: {
        ($0 as? ImageError)?.errno == .noSpace
      }
      image.file.clearFaults()
      try image.write(5 << 20, 4096)
      #expect(try image.problem(tracker, isExact: true) == nil)
    } else {
      #expect(try tracker.note(5 << 20, 4096, mayWait: true) == .noted)
      #expect(tracker.failure != nil)
      #expect(image.file.pendingCount == 0)
      #expect(
        RefusalTests.refusal { _ = try ChangeCursor(tracker, since: "one") }?.returnValue == .wrongDataType)
      #expect(RefusalTests.refusal(image, image.image)?.sentence.contains("given up") == true)
    }
  }
}
