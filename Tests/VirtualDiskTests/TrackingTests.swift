import ChangeTracking
import Foundation
import Storage
import TestSupport
import Testing

@testable import VirtualDisk

/// The record of changes beside an image's file.
@Suite("Change tracking of a disk")
struct TrackingTests {
  private static func write(_ library: DiskLibrary, _ name: String, _ places: [UInt64]) throws {
    let handle = try library.open(name, access: .write)
    for place in places { try write(handle.disk, place) }
    try handle.close()
  }

  private static func write(_ disk: VirtualDisk, _ place: UInt64, seed: UInt64 = 5) throws {
    let bytes = pattern(seed: seed &+ place, count: 4096)
    _ = try bytes.withUnsafeBytes { try disk.write($0, at: place, mayWait: true) }
  }

  private static func changes(
    _ library: DiskLibrary, _ name: String, since limit: String
  ) throws -> [Range<UInt64>] {
    let handle = try library.open(name, access: .read)
    defer { try? handle.close() }
    return try changes(handle.disk, since: limit)
  }

  private static func changes(_ disk: VirtualDisk, since limit: String) throws -> [Range<UInt64>] {
    let changes = try disk.changes(since: limit)
    var ranges: [Range<UInt64>] = []
    while let next = try changes.next(from: ranges.last?.upperBound ?? 0, end: disk.size) {
      ranges.append(next)
    }
    return ranges
  }

  /// The error of something that must fail.
  private static func failure<Answer>(_ body: () throws -> Answer) -> ImageError? {
    do {
      _ = try body()
      return nil
    } catch {
      return error as? ImageError
    }
  }

  private static func made(_ format: String) throws -> ImageFolder {
    let folder = try ImageFolder()
    if format == "vhdx" {
      try folder.make("d.vhdx")
    } else {
      _ = try runChecked(["qemu-img", "create", "-q", "-f", "vpc", "\(folder.path)/d.vhd", "4M"])
    }
    return folder
  }

  @Test("points and what changed since them, offline and online", arguments: ["vhdx", "vhd"])
  func points(_ format: String) throws {
    let folder = try TrackingTests.made(format)
    let name = "d.\(format)"
    let library = try DiskLibrary(sources: [folder.path])
    #expect(try library.tracking(of: name).state == .off)
    #expect(TrackingTests.failure { try library.makePoint("a", of: name) }?.returnValue == .invalidState)
    #expect(
      TrackingTests.failure { try TrackingTests.changes(library, name, since: "a") }?.returnValue
        == .fileNotFound)
    try library.setTracking(.on, of: name)
    let first = try library.makePoint("a", of: name)
    try TrackingTests.write(library, name, [0, 1 << 20])
    let handle = try library.open(name, access: .write)
    try TrackingTests.write(handle.disk, 8192)
    let second = try library.makePoint("b", of: name)
    try TrackingTests.write(handle.disk, 2 << 20)
    try handle.disk.zero(at: 4096 * 5, length: 4096)
    let last: [Range<UInt64>] = [20480..<24576, 2 << 20..<(2 << 20) + 4096]
    #expect(try TrackingTests.changes(library, name, since: "b") == last)
    try handle.close()

    // Another program's start.
    let again = try DiskLibrary(sources: [folder.path])
    #expect(try again.tracking(of: name).points.map(\.id) == [first.id, second.id])
    #expect(
      try TrackingTests.changes(again, name, since: first.id) == [
        0..<4096, 8192..<12288, 20480..<24576, 1 << 20..<(1 << 20) + 4096, 2 << 20..<(2 << 20) + 4096,
      ])
    #expect(TrackingTests.failure { try again.makePoint("a", of: name) }?.errno == .fileExists)
    #expect(
      TrackingTests.failure { try again.makePoint("parent", of: name) }?.returnValue == .invalidParameter)
    try again.dropPoint("a", of: name)
    let unknown = TrackingTests.failure { try TrackingTests.changes(again, name, since: first.id) }
    #expect(unknown?.returnValue == .objectNotFound)
    // The name may be used again, the id is another.
    #expect(try again.makePoint("a", of: name).id != first.id)

    try again.setTracking(.off, of: name)
    let off = TrackingTests.failure { try TrackingTests.changes(again, name, since: "b") }
    #expect(off?.returnValue == .invalidState && off?.errno == .notPermitted)
    #expect(try again.tracking(of: name).state == .off)
    try again.setTracking(.on, of: name)
    #expect(try again.tracking(of: name).points.isEmpty)
  }

  @Test("zeroing what is zero already is no change; zeroing data is")
  func zeroing() throws {
    let folder = try TrackingTests.made("vhdx")
    let library = try DiskLibrary(sources: [folder.path])
    try library.setTracking(.on, of: "d.vhdx")
    try TrackingTests.write(library, "d.vhdx", [1 << 20])
    try library.makePoint("a", of: "d.vhdx")
    let handle = try library.open("d.vhdx", access: .write)
    try handle.disk.zero(at: 2 << 20, length: 2 << 20)
    #expect(try TrackingTests.changes(handle.disk, since: "a").isEmpty)
    try handle.disk.zero(at: 1 << 20, length: 4096)
    #expect(try TrackingTests.changes(handle.disk, since: "a") == [1 << 20..<(1 << 20) + 4096])
    try handle.close()
  }

  @Test("another program's write is refused", .requiresPrograms("qemu-io"), arguments: ["vhdx", "vhd"])
  func foreignWrite(_ format: String) throws {
    let folder = try TrackingTests.made(format)
    let name = "d.\(format)"
    let library = try DiskLibrary(sources: [folder.path])
    try library.setTracking(.on, of: name)
    try library.makePoint("a", of: name)
    try TrackingTests.write(library, name, [0])
    _ = try runChecked(
      ["qemu-io", "-f", format == "vhd" ? "vpc" : "vhdx", "-c", "write -P 7 1M 4k", "\(folder.path)/\(name)"])
    let refusal = TrackingTests.failure { try TrackingTests.changes(library, name, since: "a") }
    #expect(refusal?.returnValue == .invalidState && refusal?.errno.rawValue == ESTALE)
    #expect(refusal?.sentence.contains("take a full copy") == true)
    #expect(try library.tracking(of: name).state == .refused)
    // Nothing is overwritten without being asked.
    #expect(TrackingTests.failure { try library.setTracking(.on, of: name) }?.errno.rawValue == ESTALE)
    try TrackingTests.write(library, name, [3 << 20])
    #expect(
      TrackingTests.failure { try TrackingTests.changes(library, name, since: "a") }?.errno.rawValue == ESTALE
    )
    try library.setTracking(.reset, of: name)
    #expect(try library.tracking(of: name).state == .on)
  }

  /// Files' times move in ticks, and a VHD has nothing else to tell by.
  @Test("another program's write into a VHD just after its close is refused")
  func foreignWriteAtOnce() throws {
    let folder = try TrackingTests.made("vhd")
    let library = try DiskLibrary(sources: [folder.path])
    try library.setTracking(.on, of: "d.vhd")
    try library.makePoint("a", of: "d.vhd")
    let descriptor = open("\(folder.path)/d.vhd", O_RDWR)
    defer { close(descriptor) }
    var byte: UInt8 = 0
    let size = lseek(descriptor, 0, SEEK_END)
    #expect(size > 0)
    for _ in 0..<40 {
      try TrackingTests.write(library, "d.vhd", [0])
      // As another does who waited for the end of the lock: it changes a byte of the block's data.
      _ = pread(descriptor, &byte, 1, size - 1024)
      #expect(pwrite(descriptor, &byte, 1, size - 1024) == 1)
      #expect(try library.tracking(of: "d.vhd").state == .refused)
      try library.setTracking(.reset, of: "d.vhd")
      try library.makePoint("a", of: "d.vhd")
    }
  }

  @Test("a copy of the closed image with its record is believed; one made while it was in use is not")
  func copies() throws {
    let folder = try TrackingTests.made("vhdx")
    let library = try DiskLibrary(sources: [folder.path])
    try library.setTracking(.on, of: "d.vhdx")
    try library.makePoint("a", of: "d.vhdx")
    try TrackingTests.write(library, "d.vhdx", [4096])
    func copied() throws -> DiskLibrary {
      let other = "\(folder.path)/copy"
      try? FileManager.default.removeItem(atPath: other)
      _ = try runChecked(["cp", "-rp", folder.path, "/tmp/vhdfs-copy-\(getpid())"])
      try FileManager.default.moveItem(atPath: "/tmp/vhdfs-copy-\(getpid())", toPath: other)
      return try DiskLibrary(sources: [other])
    }
    #expect(try TrackingTests.changes(try copied(), "d.vhdx", since: "a") == [4096..<8192])
    let handle = try library.open("d.vhdx", access: .write)
    try TrackingTests.write(handle.disk, 1 << 20)
    let inUse = try copied()
    try handle.close()
    let refusal = TrackingTests.failure { try TrackingTests.changes(inUse, "d.vhdx", since: "a") }
    #expect(refusal?.errno.rawValue == ESTALE && refusal?.sentence.contains("copied") == true)
  }

  @Test("a newer version, damage and a file that is none are told apart, and left as they are")
  func otherFiles() throws {
    let folder = try TrackingTests.made("vhdx")
    let path = "\(folder.path)/d.vhdx.tracking"
    let library = try DiskLibrary(sources: [folder.path])
    try library.setTracking(.on, of: "d.vhdx")
    try library.makePoint("a", of: "d.vhdx")
    let good = try Data(contentsOf: URL(fileURLWithPath: path))
    var newer = good
    newer[8] = 2
    newer[4096 + 8] = 2
    var damaged = good
    damaged[60] ^= 1
    damaged[4096 + 60] ^= 1
    let cases: [(Data, ReturnValue, String)] = [
      (newer, .notSupported, "version 2"), (damaged, .wrongDataType, "damaged"),
      (Data("hello".utf8), .wrongDataType, "no tracking file"), (Data(), .wrongDataType, "no tracking file"),
    ]
    for (bytes, returnValue, words) in cases {
      try bytes.write(to: URL(fileURLWithPath: path))
      let library = try DiskLibrary(sources: [folder.path])
      let refusal = TrackingTests.failure { try TrackingTests.changes(library, "d.vhdx", since: "a") }
      #expect(refusal?.returnValue == returnValue, "\(words)")
      #expect(refusal?.sentence.contains(words) == true, "\(refusal?.sentence ?? "")")
      for change in [TrackingChange.on, .off] {
        #expect(TrackingTests.failure { try library.setTracking(change, of: "d.vhdx") } != nil)
      }
      try TrackingTests.write(library, "d.vhdx", [0])
      let isUntouched = try Data(contentsOf: URL(fileURLWithPath: path)) == bytes
      #expect(isUntouched, "\(words)")
    }
    let reset = try DiskLibrary(sources: [folder.path])
    try reset.setTracking(.reset, of: "d.vhdx")
    try reset.makePoint("a", of: "d.vhdx")
  }

  @Test("tracks all that are opened for writing, when asked to")
  func tracksAll() throws {
    let folder = try TrackingTests.made("vhdx")
    var options = TrackingOptions()
    options.tracksAll = true
    let library = try DiskLibrary(sources: [folder.path], tracking: options)
    try library.open("d.vhdx", access: .read).close()
    #expect(try library.tracking(of: "d.vhdx").fileSize == nil)
    try library.makePoint("a", of: "d.vhdx")
    try TrackingTests.write(library, "d.vhdx", [0])
    #expect(try TrackingTests.changes(library, "d.vhdx", since: "a") == [0..<4096])
  }

  @Test("what a differencing image holds, without any tracking")
  func heldByChild() throws {
    let folder = try ImageFolder()
    try folder.make("root.vhdx")
    let root = try DiskLibrary(sources: ["\(folder.path)/root.vhdx"])
    try TrackingTests.write(root, "root.vhdx", [0, 1 << 20])
    try folder.make("leaf.vhdx", linkage: try folder.identity("root.vhdx"), recorded: ".\\root.vhdx")
    let library = try DiskLibrary(sources: [folder.path])
    #expect(
      TrackingTests.failure { try TrackingTests.changes(library, "root.vhdx", since: "parent") }?.returnValue
        == .notSupported)
    #expect(try TrackingTests.changes(library, "leaf.vhdx", since: "parent").isEmpty)
    let handle = try library.open("leaf.vhdx", access: .write)
    try TrackingTests.write(handle.disk, 4096)
    try handle.disk.zero(at: 1 << 20, length: 1 << 20)
    try handle.close()
    #expect(
      try TrackingTests.changes(library, "leaf.vhdx", since: "parent") == [4096..<8192, 1 << 20..<(2 << 20)])
  }
}
