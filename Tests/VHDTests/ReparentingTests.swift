import Storage
import SystemPackage
import TestSupport
import Testing

@testable import VHD

@Suite("Another parent for a VHD")
struct ReparentingTests {
  @Test(
    "It names the new parent, reads the same, and is as other readers want it",
    arguments: Reparented.Start.allCases)
  func done(_ start: Reparented.Start) throws {
    let family = try Reparented(start)
    #expect(try !family.look(family.child))
    let double = RecordedFile(family.child)
    let before = try VHDImage(HostFile(path: "before", double: RecordedFile(family.child)))
    try family.run(double)
    #expect(try family.look(double.contents, isClosed: true))
    let image = try VHDImage(HostFile(path: "child", double: double))
    #expect(image.footer.uniqueID == before.footer.uniqueID)
    #expect(image.header?.tableOffset == before.header?.tableOffset)
    #expect(double.pendingCount == 0)
    // The header is where it was, or came back.
    #expect(image.footer.dataOffset == (start == .headerElsewhere ? before.footer.dataOffset : 512))
    if let size = family.closedSize { #expect(double.contents.size == size) }
    // And once more.
    try family.run(double, Reparented.reference(family.old, "old"))
    #expect(try !family.look(double.contents, isClosed: true))
  }

  @Test(
    "Every power cut on the way leaves the old parent or the new one", arguments: Reparented.Start.allCases)
  func powerCuts(_ start: Reparented.Start) throws {
    let family = try Reparented(start)
    let double = RecordedFile(family.child)
    double.record()
    try family.run(double)
    var seen: Set<Bool> = []
    var states = 0
    for (number, epoch) in double.epochs.enumerated() {
      // A medium that loses the sector that it is writing loses one footer at the most.
      #expect(epoch.footerWrites <= 1, "epoch \(number)")
      try epoch.forEachState { choice in
        let state = epoch.state(choice)
        do {
          seen.insert(try family.look(state))
          states += 1
          if states % 7 == 0 { try family.goOn(state) }
        } catch {
          throw Reparented.Flaw(
            description: "epoch \(number), \(choice), \(epoch.entries.count) changes: \(error)")
        }
      }
    }
    #expect(seen == [false, true])
    #expect(states > 60)
  }

  @Test(
    "So does a second one, while what the first left is mended",
    arguments: [Reparented.Start.asMade, .littleRoom])
  func secondPowerCut(_ start: Reparented.Start) throws {
    let family = try Reparented(start)
    let double = RecordedFile(family.child)
    double.record()
    try family.run(double)
    var tries = 0
    for epoch in double.epochs {
      for kept in [CrashChoice.Fate.kept, .lost] {
        let first = epoch.state(
          CrashChoice(
            fates: epoch.dataEntries.enumerated().map { $0.offset % 2 == 0 ? kept : .lost },
            sizes: epoch.sizeEntries.count))
        let wasNew = try family.look(first)
        let mended = RecordedFile(first)
        mended.record()
        try Reparented.close(mended)
        for second in mended.epochs {
          try second.forEachState { choice in
            let state = second.state(choice)
            #expect(try family.look(state) == wasNew, "\(choice)")
            tries += 1
            if tries % 11 == 0 { try family.goOn(state) }
          }
        }
      }
    }
    #expect(tries > 100)
  }

  @Test(
    "A host that fails leaves a chain that is whole", arguments: [Errno.ioError, .noSpace], [false, true])
  func faults(_ code: Errno, lasts: Bool) throws {
    let family = try Reparented(.asMade)
    let kinds: Set<RecordedFile.Operation> =
      code == .noSpace ? [.write, .resize, .punch] : [.write, .resize, .punch, .flush]
    var number = 0
    while true {
      let double = RecordedFile(family.child)
      double.follow(.init(kinds, first: number, lasts: lasts, .failsHalfWay(code)))
      let file = HostFile(path: "child", double: double)
      var failure: ImageError?
      let image = try VHDImage(file)
      do throws(ImageError) {
        try image.beginWriting()
        try image.replaceParent(Reparented.reference(family.new, "new"))
        try Reparented.close(double)
      } catch {
        failure = error
      }
      if double.failedCount == 0 { break }
      double.clearFaults()
      #expect(failure != nil || code == .noSpace || lasts == false, "operation \(number)")
      try family.goOn(double.contents)
      try family.run(double)
      #expect(try family.look(double.contents, isClosed: true), "operation \(number)")
      number += 1
    }
    #expect(number > 8)
  }

  @Test("A full host is told before anything is changed, and writing goes on")
  func fullHost() throws {
    let family = try Reparented(.asMade)
    let double = RecordedFile(family.child)
    let image = try VHDImage(HostFile(path: "child", double: double))
    try image.beginWriting()
    double.follow(.init([.write], first: 1, lasts: true, .fails(.noSpace)))
    let error = #expect(throws: ImageError.self) {
      try image.replaceParent(Reparented.reference(family.new, "new"))
    }
    #expect(error?.errno == .noSpace)
    double.clearFaults()
    #expect(image.isWriting && double.contents.size == family.child.size)
    let bytes = pattern(seed: 5, count: 4096)
    try SmallDisk([image, family.old]).write(bytes, at: 0)
    try image.finishWriting()
    let again = try VHDImage(HostFile(path: "child", double: double))
    #expect(try again.validate().isClean)
    #expect(try SmallDisk([again, family.old]).read(0, 4096) == bytes)
    #expect(again.parent?.parentUniqueID == family.old.footer.uniqueID)
  }

  @Test("The object that did it takes no more writes, and says why")
  func isStale() throws {
    let family = try Reparented(.asMade)
    let double = RecordedFile(family.child)
    let image = try VHDImage(HostFile(path: "child", double: double))
    let early = #expect(throws: ImageError.self) {
      try image.replaceParent(Reparented.reference(family.new, "new"))
    }
    #expect(early?.returnValue == .invalidState)
    #expect(double.operationCount == double.flushCount)
    try image.beginWriting()
    try image.replaceParent(Reparented.reference(family.new, "new"))
    let error = #expect(throws: ImageError.self) { try image.beginWriting() }
    #expect(error?.sentence.contains("opened anew") == true)
    #expect(try SmallDisk([image, family.new]).read(0, family.contents.count) == family.contents)
  }

  @Test(
    "Paths of any length are recorded, in the room that is kept for them or behind the blocks",
    arguments: [3, 200, 224, 225, 255, 256, 300, 2040, 2041, 10_000, 32_000],
    [Reparented.Start.asMade, .littleRoom, .wrongRoom])
  func longNames(_ length: Int, _ start: Reparented.Start) throws {
    let family = try Reparented(start)
    let double = RecordedFile(family.child)
    var path = "/" + String(repeating: "ü/", count: length / 2)
    path = String(path.prefix(max(1, length - 8))) + "new.vhd"
    var reference = Reparented.reference(family.new, "new")
    (reference.absolutePath, reference.relativePath) = (path, "." + path)
    double.record()
    try family.run(double, reference)
    let image = try VHDImage(HostFile(path: "child", double: double))
    let last = String(path.split(separator: "/").last ?? "")
    let recorded = String(path.map { $0 == "/" ? "\\" : $0 })
    #expect(image.parent?.relativePaths == ["." + recorded])
    #expect(image.parent?.otherPaths.first == recorded)
    #expect(image.parent?.otherPaths.last == (path.utf16.count > 255 ? last : recorded))
    #expect(image.footer.dataOffset == 512)
    #expect(try image.validate().isClean)
    #expect(try SmallDisk([image, family.new]).read(0, family.contents.count) == family.contents)
    for epoch in double.epochs {
      try epoch.forEachState { choice in
        let state = try VHDImage(HostFile(path: "state", double: RecordedFile(epoch.state(choice))))
        let names = state.parent?.otherPaths.first
        #expect(names == recorded || names == #"\images\old.vhd"#, "\(choice)")
      }
    }
    // Blocks that come later, and a compaction, leave the locators alone.
    try image.beginWriting()
    let disk = SmallDisk([image, family.new])
    try disk.write(pattern(seed: 9, count: 2_000_000), at: 100)
    try image.finishWriting()
    let again = try VHDImage(HostFile(path: "child", double: double))
    #expect(again.parent == image.parent)
    #expect(try again.validate().isClean)
  }

  @Test("Longer ones than Windows knows are refused, and so is an image without a parent")
  func refused() throws {
    let family = try Reparented(.asMade)
    let double = RecordedFile(family.child)
    let image = try VHDImage(HostFile(path: "child", double: double))
    try image.beginWriting()
    var reference = Reparented.reference(family.new, "new")
    reference.absolutePath = String(repeating: "a", count: 32_768)
    let error = #expect(throws: ImageError.self) { try image.replaceParent(reference) }
    #expect(error?.returnValue == .invalidParameter)
    try image.finishWriting()
    #expect(double.contents.size == family.child.size)
    let fixed = #expect(throws: ImageError.self) {
      try family.old.replaceParent(Reparented.reference(family.new, "new"))
    }
    #expect(fixed?.returnValue == .notSupported)
  }

  @Test("Footers that name two headers of two tables are of two disks, and are not written")
  func twoTables() throws {
    let family = try Reparented(.headerLeftBehind)
    let double = RecordedFile(family.child)
    // The copy names the header in the usual place again, and that one another table.
    var copy = [UInt8](repeating: 0, count: 512)
    _ = copy.withUnsafeMutableBytes { family.child.read(into: $0, at: 0) }
    copy.withUnsafeMutableBytes { bytes in
      bytes.storeBigEndian(UInt64(512), at: 16)
      Checksum.store(in: bytes, field: Footer.checksumField)
    }
    try copy.withUnsafeBytes { try double.write($0, at: 0) }
    let whole = try VHDImage(HostFile(path: "whole", double: RecordedFile(double.contents)))
    #expect(try whole.validate().all.map(\.severity) == [.unfinished])
    #expect(whole.warnings.count == 1)
    try family.goOn(double.contents)
    var header = [UInt8](repeating: 0, count: 1024)
    _ = header.withUnsafeMutableBytes { double.contents.read(into: $0, at: 512) }
    header.withUnsafeMutableBytes { bytes in
      bytes.storeBigEndian(UInt64(16384), at: 16)
      Checksum.store(in: bytes, field: DynamicHeader.checksumField)
    }
    try header.withUnsafeBytes { try double.write($0, at: 512) }
    let image = try VHDImage(HostFile(path: "child", double: double))
    #expect(try image.validate().all.map(\.severity) == [.damage])
    #expect(throws: ImageError.self) { try image.beginWriting() }
  }
}
