import Foundation
import Glibc
import Storage
import Synchronization
import TestSupport
import Testing

@testable import VirtualDisk

@Suite("A chain that an operation has to itself")
struct OfflineChainTests {
  /// root ← middle ← leaf, and sibling, another child of root.
  private static func chain() throws -> ImageFolder {
    let folder = try ImageFolder()
    try folder.make("root.vhdx")
    for (child, parent) in [("middle", "root"), ("leaf", "middle"), ("sibling", "root")] {
      try folder.make(
        "\(child).vhdx", linkage: try folder.identity("\(parent).vhdx"), recorded: ".\\\(parent).vhdx")
    }
    return folder
  }

  private static func refusal<T>(_ body: () throws(ImageError) -> T) -> ImageError? {
    do throws(ImageError) {
      _ = try body()
      return nil
    } catch {
      return error
    }
  }

  @Test("nobody else opens its leaf, nor a child of that; the parents may be read")
  func leaf() throws {
    let folder = try OfflineChainTests.chain()
    let library = try DiskLibrary(sources: [folder.path])
    let chain = try library.takeOffline("middle.vhdx", for: "job 7 (compact)")
    #expect(chain.paths.map { ($0 as NSString).lastPathComponent } == ["middle.vhdx", "root.vhdx"])
    for (name, access) in [("middle.vhdx", DiskAccess.read), ("leaf.vhdx", .read), ("leaf.vhdx", .write)] {
      let error = try #require(
        OfflineChainTests.refusal { () throws(ImageError) in try library.open(name, access: access) })
      #expect(error.returnValue == .inUse && error.errno == .resourceBusy)
      #expect(error.description.contains("job 7 (compact)"), "\(error)")
    }
    #expect(try library.entry(named: "middle.vhdx").operation == "job 7 (compact)")
    try library.open("root.vhdx", access: .read).close()
    try library.open("sibling.vhdx", access: .read).close()
    #expect(
      OfflineChainTests.refusal { () throws(ImageError) in
        try library.takeOffline("middle.vhdx", for: "job 8")
      } != nil)
    // Another program meets the lock.
    let other = try DiskLibrary(sources: [folder.path])
    #expect(
      OfflineChainTests.refusal { () throws(ImageError) in try other.open("middle.vhdx", access: .read) }?
        .returnValue == .inUse)

    chain.close()
    chain.close()
    #expect(try library.entry(named: "middle.vhdx").operation == nil)
    try library.open("leaf.vhdx", access: .write).close()
    try other.open("middle.vhdx", access: .read).close()
  }

  @Test("a parent that is rewritten is nobody else's, and its other children wait too")
  func rewritten() throws {
    let folder = try OfflineChainTests.chain()
    let library = try DiskLibrary(sources: [folder.path])
    let chain = try library.takeOffline("leaf.vhdx", for: "job 9 (merge)")
    #expect(chain.otherChildren(at: 2).map { ($0 as NSString).lastPathComponent } == ["sibling.vhdx"])
    #expect(chain.otherChildren(at: 1) == [])
    #expect(chain.otherChildren(at: 0) == [])
    let reader = try library.open("sibling.vhdx", access: .read)
    #expect(
      OfflineChainTests.refusal { () throws(ImageError) in try chain.rewrite(at: 2) }?.returnValue == .inUse)
    try reader.close()
    try chain.rewrite(at: 2)
    try chain.rewrite(at: 2)
    for name in ["root.vhdx", "sibling.vhdx"] {
      let error = try #require(
        OfflineChainTests.refusal { () throws(ImageError) in try library.open(name, access: .read) })
      #expect(error.errno == .resourceBusy && error.description.contains("job 9 (merge)"), "\(error)")
    }
    // A parent of a known child, which nobody else may write.
    let disk = chain.disk(at: 2)
    let bytes = [UInt8](repeating: 7, count: 4096)
    _ = try bytes.withUnsafeBytes { try disk.write($0, at: 0, mayWait: true) }
    try disk.finishWriting()
    chain.close()
    let handle = try library.open("root.vhdx", access: .read)
    try handle.close()
  }

  @Test("an image that is used is waited for, and then refused with who uses it")
  func inUse() throws {
    let folder = try OfflineChainTests.chain()
    let library = try DiskLibrary(sources: [folder.path])
    let handle = try library.open("leaf.vhdx", access: .read)
    for name in ["leaf.vhdx", "middle.vhdx", "root.vhdx"] {
      let error = try #require(
        OfflineChainTests.refusal { () throws(ImageError) in try library.takeOffline(name, for: "job 1") })
      #expect(error.returnValue == .inUse && error.errno == .resourceBusy)
      #expect(error.description.contains("leaf.vhdx is open"), "\(error)")
    }
    // A release that is under way.
    let closer = Thread {
      usleep(300_000)
      try? handle.close()
    }
    closer.start()
    try library.takeOffline("root.vhdx", for: "job 2").close()
    // An operation that was forgotten does not keep its files.
    _ = try library.takeOffline("root.vhdx", for: "job 3")
    try library.takeOffline("root.vhdx", for: "job 4").close()
  }

  @Test("nothing is taken where all is read-only, and nothing that is not there")
  func refused() throws {
    let folder = try OfflineChainTests.chain()
    let library = try DiskLibrary(sources: [folder.path], isReadOnly: true)
    #expect(
      OfflineChainTests.refusal { () throws(ImageError) in try library.takeOffline("leaf.vhdx", for: "job 1")
      }?.errno == .readOnlyFileSystem)
    let writable = try DiskLibrary(sources: [folder.path])
    #expect(
      OfflineChainTests.refusal { () throws(ImageError) in try writable.takeOffline("no.vhdx", for: "job 1")
      }?.returnValue == .fileNotFound)
    try FileManager.default.removeItem(atPath: "\(folder.path)/middle.vhdx")
    #expect(
      OfflineChainTests.refusal { () throws(ImageError) in try writable.takeOffline("leaf.vhdx", for: "job 1")
      }?.returnValue == .fileNotFound)
    // What was taken before the chain broke off is given back.
    try writable.takeOffline("root.vhdx", for: "job 2").close()
  }
}
