import Foundation
import Storage
import TestSupport
import Testing
import VHD
import VHDX

@testable import VirtualDisk

/// A directory of images that goes away with the test.
final class ImageFolder {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "vhdfs-chain-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// A dynamic VHDX, or a child of `parent` (found at `recorded`).
  func make(
    _ name: String, size: UInt64 = 4 << 20, linkage: GUID? = nil, recorded: String = "",
    sectorSize: UInt32 = 512
  ) throws {
    let file = try HostFile.create("\(path)/\(name)")
    let kind: VHDXCreation.Kind =
      linkage.map {
        .differencing(parent: VHDX.ParentLocator(linkage: $0, relativePath: recorded), inherited: [])
      }
      ?? .dynamic
    try VHDXImage.create(
      file, VHDXCreation(kind: kind, virtualSize: size, blockSize: 1 << 20, logicalSectorSize: sectorSize))
  }

  func identity(_ name: String) throws -> GUID {
    try VHDXImage(try HostFile.open("\(path)/\(name)", writable: false)).dataWriteGUID
  }

  func failure(_ name: String, parents: [String] = []) throws -> ImageError? {
    let library = try DiskLibrary(sources: ["\(path)/\(name)"], parentDirectories: parents)
    do {
      try library.open(name, access: .read).close()
      return nil
    } catch {
      return error
    }
  }
}

@Suite("Chains")
struct ChainTests {
  @Test("256 files are a chain, 257 are not")
  func depth() throws {
    let folder = try ImageFolder()
    try folder.make("d0.vhdx")
    for number in 1...256 {
      let parent = "d\(number - 1).vhdx"
      try folder.make("d\(number).vhdx", linkage: try folder.identity(parent), recorded: ".\\\(parent)")
    }
    #expect(try folder.failure("d255.vhdx") == nil)
    let error = try #require(try folder.failure("d256.vhdx"))
    #expect(error.returnValue == .notSupported)
    #expect(error.description.contains("256"))
  }

  @Test("A missing parent's error names child, parent and identity")
  func missing() throws {
    let folder = try ImageFolder()
    let linkage = GUID.random()
    try folder.make("child.vhdx", linkage: linkage, recorded: ".\\gone.vhdx")
    let error = try #require(try folder.failure("child.vhdx"))
    #expect(error.returnValue == .fileNotFound)
    for part in ["child.vhdx", "gone.vhdx", linkage.description, "--parents"] {
      #expect(error.description.contains(part), "\(error)")
    }
  }

  @Test("A wrong parent's error names both identities")
  func wrong() throws {
    let folder = try ImageFolder()
    try folder.make("parent.vhdx")
    let linkage = GUID.random()
    try folder.make("child.vhdx", linkage: linkage, recorded: ".\\parent.vhdx")
    let error = try #require(try folder.failure("child.vhdx"))
    #expect(error.returnValue == .invalidState)
    for part in [
      "child.vhdx", "parent.vhdx", linkage.description, try folder.identity("parent.vhdx").description,
    ] {
      #expect(error.description.contains(part), "\(error)")
    }
  }

  @Test("A chain that comes back to itself is told as that")
  func cycle() throws {
    let folder = try ImageFolder()
    try folder.make("a.vhdx", linkage: .random(), recorded: ".\\a.vhdx")
    let error = try #require(try folder.failure("a.vhdx"))
    #expect(error.returnValue == .chainHasCycle)
  }

  @Test("Sectors of another size are refused")
  func sectorSize() throws {
    let folder = try ImageFolder()
    try folder.make("parent.vhdx", sectorSize: 4096)
    try folder.make("child.vhdx", linkage: try folder.identity("parent.vhdx"), recorded: ".\\parent.vhdx")
    #expect(try folder.failure("child.vhdx")?.description.contains("sectors") == true)
  }

  @Test("A parent elsewhere is found only in directories that were named")
  func directories() throws {
    let folder = try ImageFolder()
    let other = try ImageFolder()
    try other.make("parent.vhdx")
    let recorded = "..\\\(URL(fileURLWithPath: other.path).lastPathComponent)\\parent.vhdx"
    try folder.make("child.vhdx", linkage: try other.identity("parent.vhdx"), recorded: recorded)
    #expect(try folder.failure("child.vhdx")?.returnValue == .fileNotFound)
    #expect(try folder.failure("child.vhdx", parents: [other.path]) == nil)
    // Links are not followed, not even to the right file.
    try FileManager.default.createSymbolicLink(
      atPath: folder.path + "/parent.vhdx", withDestinationPath: other.path + "/parent.vhdx")
    #expect(try folder.failure("child.vhdx") != nil)
  }

  @Test("A child larger or smaller than its parent", arguments: [2 << 20, 7 << 20] as [UInt64])
  func sizes(size: UInt64) throws {
    let folder = try ImageFolder()
    try folder.make("parent.vhdx", size: 5 << 20)
    let library = try DiskLibrary(sources: [folder.path])
    let parent = try library.open("parent.vhdx", access: .write)
    let bytes = pattern(seed: 3, count: 5 << 20)
    _ = try bytes.withUnsafeBytes { try parent.disk.write($0, at: 0, mayWait: true) }
    try parent.close()
    try folder.make(
      "child.vhdx", size: size, linkage: try folder.identity("parent.vhdx"), recorded: ".\\parent.vhdx")
    let child = try library.open("child.vhdx", access: .write)
    #expect(child.disk.size == size)
    let new = pattern(seed: 4, count: 5000)
    _ = try new.withUnsafeBytes { try child.disk.write($0, at: size - 5000, mayWait: true) }
    var expected = bytes + [UInt8](repeating: 0, count: 4 << 20)
    expected.removeSubrange(Int(size)...)
    expected.replaceSubrange((Int(size) - 5000)..., with: new)
    var found = [UInt8](repeating: 1, count: Int(size))
    _ = try found.withUnsafeMutableBytes { try child.disk.read(into: $0, at: 0, mayWait: true) }
    #expect(found == expected)
    try child.close()
  }

  @Test("A parent is not written while a child of it is known, and can be when the child is gone")
  func knownChild() throws {
    let folder = try ImageFolder()
    try folder.make("parent.vhdx")
    try folder.make("child.vhdx", linkage: try folder.identity("parent.vhdx"), recorded: ".\\parent.vhdx")
    // Also when only the parent is offered: the child lies beside it.
    let library = try DiskLibrary(sources: [folder.path + "/parent.vhdx"])
    #expect { try library.open("parent.vhdx", access: .write) } throws: { error in
      (error as? ImageError)?.errno == .readOnlyFileSystem && "\(error)".contains("child.vhdx")
    }
    #expect(try library.entry(named: "parent.vhdx").readOnlyReason?.contains("child.vhdx") == true)
    try library.open("parent.vhdx", access: .read).close()
    try FileManager.default.removeItem(atPath: folder.path + "/child.vhdx")
    try library.open("parent.vhdx", access: .write).close()
  }

  @Test("Zeros over nothing need no room; over a parent's data they do")
  func zeros() throws {
    let folder = try ImageFolder()
    try folder.make("parent.vhdx")
    let library = try DiskLibrary(sources: [folder.path])
    let zeros = [UInt8](repeating: 0, count: 8192)
    let parent = try library.open("parent.vhdx", access: .write)
    let before = try parent.disk.leaf.file.size()
    _ = try zeros.withUnsafeBytes { try parent.disk.write($0, at: 1 << 20, mayWait: true) }
    #expect(try parent.disk.leaf.file.size() == before)
    #expect(try parent.disk.nextData(from: 0) == nil)
    let data = pattern(seed: 1, count: 8192)
    _ = try data.withUnsafeBytes { try parent.disk.write($0, at: 2 << 20, mayWait: true) }
    try parent.close()
    try folder.make("child.vhdx", linkage: try folder.identity("parent.vhdx"), recorded: ".\\parent.vhdx")
    let child = try library.open("child.vhdx", access: .write)
    _ = try zeros.withUnsafeBytes { try child.disk.write($0, at: 1 << 20, mayWait: true) }
    #expect(try child.disk.nextData(from: 0) == 2 << 20, "the parent's; nothing of the child's own")
    _ = try zeros.withUnsafeBytes { try child.disk.write($0, at: 2 << 20, mayWait: true) }
    var found = [UInt8](repeating: 1, count: 8192)
    _ = try found.withUnsafeMutableBytes { try child.disk.read(into: $0, at: 2 << 20, mayWait: true) }
    #expect(found == zeros)
    try child.close()
  }

  @Test("Opening and closing at once never meets our own locks")
  func reopening() throws {
    let folder = try ImageFolder()
    try folder.make("disk.vhdx")
    let library = try DiskLibrary(sources: [folder.path])
    DispatchQueue.concurrentPerform(iterations: 4) { worker in
      for number in 0..<40 {
        do {
          let handle = try library.open("disk.vhdx", access: number % 3 == 0 ? .read : .write)
          if handle.access == .write {
            let bytes = pattern(seed: UInt64(number), count: 4096)
            _ = try bytes.withUnsafeBytes {
              try handle.disk.write($0, at: UInt64(worker) << 20, mayWait: true)
            }
          }
          try handle.close()
        } catch {
          Issue.record("worker \(worker), round \(number): \(error)")
        }
      }
    }
  }
}
