import Foundation
import Glibc
import Storage
import TestSupport
import Testing
import VHDX

@testable import VirtualDisk

/// The children of a chain's files, wherever they are and whatever they are called.
@Suite("Other children of a chain's files")
struct ChildSurveyTests {
  /// A child of `parent`, in another folder or the same.
  private static func child(
    _ name: String, of parent: String, _ parentFolder: ImageFolder, in folder: ImageFolder? = nil,
    recorded: String? = nil
  ) throws {
    let path = recorded ?? (folder == nil ? ".\\\(parent)" : "..\\\(last(parentFolder.path))\\\(parent)")
    try (folder ?? parentFolder).make(name, linkage: try parentFolder.identity(parent), recorded: path)
  }

  private static func last(_ path: String) -> String { (path as NSString).lastPathComponent }

  private static func endangered(
    _ name: String, in folder: ImageFolder, parents: [ImageFolder] = [], to depth: Int = 1
  ) throws -> [KnownChild] {
    let library = try DiskLibrary(
      sources: ["\(folder.path)/\(name)"], parentDirectories: parents.map(\.path))
    let chain = try library.takeOffline(name, for: "job 1 (merge)")
    defer { chain.close() }
    return chain.othersEndangered(byChanging: 1...depth)
  }

  private static func names(_ children: [KnownChild]) -> [String] { children.map { last($0.path) } }

  @Test("A sibling beside the parent, and one in a third directory")
  func directories() throws {
    let (a, b, c) = (try ImageFolder(), try ImageFolder(), try ImageFolder())
    try b.make("base.vhdx")
    try ChildSurveyTests.child("child.vhdx", of: "base.vhdx", b, in: a)
    try ChildSurveyTests.child("beside.vhdx", of: "base.vhdx", b)
    try ChildSurveyTests.child("third.vhdx", of: "base.vhdx", b, in: c)
    let found = try ChildSurveyTests.endangered("child.vhdx", in: a, parents: [b])
    #expect(ChildSurveyTests.names(found) == ["beside.vhdx"])
    let more = try ChildSurveyTests.endangered("child.vhdx", in: a, parents: [b, c])
    #expect(ChildSurveyTests.names(more).sorted() == ["beside.vhdx", "third.vhdx"])
    // The child's own children, in another directory.
    try ChildSurveyTests.child("grandchild.vhdx", of: "child.vhdx", a, in: b)
    let library = try DiskLibrary(sources: [a.path + "/child.vhdx"], parentDirectories: [b.path])
    let chain = try library.takeOffline("child.vhdx", for: "job 1 (merge)")
    #expect(ChildSurveyTests.names(chain.children(at: 0)) == ["grandchild.vhdx"])
    #expect(try chain.referencesOfChildren().map(\.path) == [b.path + "/grandchild.vhdx"])
    #expect(ChildSurveyTests.names(chain.othersEndangered(byChanging: 1...1)) == ["beside.vhdx"])
    chain.close()
  }

  @Test("What stands on a sibling is named too, on every level; what stands on the leaf is not")
  func descendants() throws {
    let folder = try ImageFolder()
    try folder.make("root.vhdx")
    for (child, parent) in [
      ("middle", "root"), ("leaf", "middle"), ("own", "leaf"), ("s1", "root"), ("t1", "s1"), ("u1", "t1"),
      ("s2", "middle"), ("t2", "s2"),
    ] {
      try ChildSurveyTests.child("\(child).vhdx", of: "\(parent).vhdx", folder)
    }
    let all = try ChildSurveyTests.endangered("leaf.vhdx", in: folder, to: 2)
    #expect(ChildSurveyTests.names(all) == ["s1", "s2", "t1", "t2", "u1"].map { "\($0).vhdx" })
    let near = try ChildSurveyTests.endangered("leaf.vhdx", in: folder, to: 1)
    #expect(ChildSurveyTests.names(near) == ["s2.vhdx", "t2.vhdx"])
    #expect(all.allSatisfy(\.isCertain) && all.doubts == nil)
  }

  @Test("Names that are no text, and two names that look the same")
  func names() throws {
    let folder = try ImageFolder()
    try folder.make("base.vhdx")
    try ChildSurveyTests.child("child.vhdx", of: "base.vhdx", folder)
    try ChildSurveyTests.child("x.vhdx", of: "base.vhdx", folder)
    let bytes = Array("\(folder.path)/s".utf8) + [0xE9] + Array(".vhdx".utf8) + [0]
    try #require(rename("\(folder.path)/x.vhdx", bytes.map(CChar.init(bitPattern:))) == 0)
    let (composed, decomposed) = ("caf\u{E9}.vhdx", "cafe\u{301}.vhdx")
    for name in [composed, decomposed] { try ChildSurveyTests.child(name, of: "base.vhdx", folder) }

    let found = try ChildSurveyTests.endangered("child.vhdx", in: folder)
    #expect(found.count == 3)
    #expect(found.contains { $0.printedPath == "\(folder.path)/s\\351.vhdx" }, "\(found)")
    let twin = try ChildSurveyTests.endangered(composed, in: folder)
    #expect(
      twin.contains { Array($0.path.utf8).suffix(decomposed.utf8.count).elementsEqual(decomposed.utf8) })
    #expect(twin.count == 3)

    // Both are offered, each as itself; the one without a text is not, nor mistaken for another.
    let repaired = "s\u{FFFD}.vhdx"
    try folder.make(repaired)
    let entries = try DiskLibrary(sources: [folder.path]).scan()
    #expect(entries.count == 5 && Set(entries.map(\.identity)).count == 5)
    for name in [composed, decomposed, repaired] {
      let entry = try DiskLibrary(sources: [folder.path]).entry(named: name)
      #expect(entry.name.isExactly(name) && entry.path.isExactly("\(folder.path)/\(name)"))
    }
  }

  @Test("The grandchild without a text for a name cannot be linked anew, and is told to be renamed")
  func relinkingBytes() throws {
    let folder = try ImageFolder()
    try folder.make("base.vhdx")
    try ChildSurveyTests.child("child.vhdx", of: "base.vhdx", folder)
    try ChildSurveyTests.child("x.vhdx", of: "child.vhdx", folder)
    let bytes = Array("\(folder.path)/\u{1}".utf8) + [0xFF] + Array(".vhdx".utf8) + [0]
    try #require(rename("\(folder.path)/x.vhdx", bytes.map(CChar.init(bitPattern:))) == 0)
    let library = try DiskLibrary(sources: [folder.path])
    let chain = try library.takeOffline("child.vhdx", for: "job 1 (merge)")
    #expect {
      try chain.takeChildrenOfLeaf()
    } throws: { error in
      (error as? ImageError)?.returnValue == .invalidParameter
        && "\(error)".contains("/\\001\\377.vhdx") && "\(error)".contains("rename")
    }
    chain.close()
  }

  @Test(
    "A child is known by its contents, whatever its ending", arguments: ["snap.img", "snap", "a.vhdx.bak"])
  func endings(name: String) throws {
    let folder = try ImageFolder()
    try folder.make("base.vhdx")
    try ChildSurveyTests.child("child.vhdx", of: "base.vhdx", folder)
    try ChildSurveyTests.child(name, of: "base.vhdx", folder)
    // No image at all.
    try Data(count: 1 << 20).write(to: URL(fileURLWithPath: folder.path + "/raw.img"))
    try Data(count: 700).write(to: URL(fileURLWithPath: folder.path + "/small.vhdx"))
    // Links are not followed.
    let other = try ImageFolder()
    try ChildSurveyTests.child("linked.vhdx", of: "base.vhdx", folder, in: other)
    try FileManager.default.createSymbolicLink(
      atPath: folder.path + "/link.vhdx", withDestinationPath: other.path + "/linked.vhdx")
    let found = try ChildSurveyTests.endangered("child.vhdx", in: folder)
    #expect(ChildSurveyTests.names(found) == [name])
  }

  @Test("What has a child's name and cannot be understood may be one; what is moved away is none")
  func doubtful() throws {
    let folder = try ImageFolder()
    try folder.make("base.vhdx")
    try ChildSurveyTests.child("child.vhdx", of: "base.vhdx", folder)
    try ChildSurveyTests.child("broken.bin", of: "base.vhdx", folder)
    let file = try OpenFile("\(folder.path)/broken.bin", O_RDWR)
    try file.write([UInt8](repeating: 0, count: 0x30000), at: 0x10000)
    try Data(count: 1 << 20).write(to: URL(fileURLWithPath: folder.path + "/zeros.VHDX"))
    try Data(count: 1 << 20).write(to: URL(fileURLWithPath: folder.path + "/set.vhds"))
    // A VHD, and so no child of a VHDX.
    let footer = Array("conectix".utf8) + [UInt8](repeating: 0, count: 504)
    try Data([UInt8](repeating: 0, count: 8192) + footer)
      .write(to: URL(fileURLWithPath: folder.path + "/other.vhd"))

    let found = try ChildSurveyTests.endangered("child.vhdx", in: folder)
    #expect(Set(ChildSurveyTests.names(found)) == ["broken.bin", "zeros.VHDX"])
    #expect(found.certain.isEmpty && found.doubtful.count == 2)
    let doubts = try #require(found.doubts)
    for part in ["broken.bin", "zeros.VHDX", "move"] { #expect(doubts.contains(part), "\(doubts)") }

    for name in ["broken.bin", "zeros.VHDX"] {
      try FileManager.default.removeItem(atPath: "\(folder.path)/\(name)")
    }
    #expect(try ChildSurveyTests.endangered("child.vhdx", in: folder).isEmpty)
  }

  @Test(
    "A child whose path leads nowhere is known by the identity; one that has a copy as its parent is that one's"
  )
  func identities() throws {
    let (a, b) = (try ImageFolder(), try ImageFolder())
    try a.make("base.vhdx")
    try ChildSurveyTests.child("child.vhdx", of: "base.vhdx", a)
    try ChildSurveyTests.child("stale.vhdx", of: "base.vhdx", a, in: b, recorded: "..\\gone\\other.vhdx")
    #expect(
      ChildSurveyTests.names(try ChildSurveyTests.endangered("child.vhdx", in: a, parents: [b]))
        == ["stale.vhdx"])
    try FileManager.default.copyItem(atPath: a.path + "/base.vhdx", toPath: b.path + "/other.vhdx")
    #expect(try ChildSurveyTests.endangered("child.vhdx", in: a, parents: [b]).isEmpty)
    // Only the copy's: what has its identity, and stands there.
    let library = try DiskLibrary(sources: [b.path])
    let chain = try library.takeOffline("other.vhdx", for: "job 2 (compact)")
    #expect(ChildSurveyTests.names(chain.children(at: 0)) == ["stale.vhdx"])
    chain.close()
  }

  @Test("What changed since it was looked at is looked at again")
  func changes() throws {
    let folder = try ImageFolder()
    try folder.make("base.vhdx")
    try folder.make("other.vhdx")
    try ChildSurveyTests.child("child.vhdx", of: "base.vhdx", folder)
    try folder.make("sibling.img")
    let library = try DiskLibrary(sources: [folder.path])
    let chain = try library.takeOffline("child.vhdx", for: "job 1 (merge)")
    defer { chain.close() }
    #expect(chain.othersEndangered(byChanging: 1...1).isEmpty)
    // In place, with the same time.
    var times = [timespec(), timespec()]
    var status = stat()
    let path = "\(folder.path)/sibling.img"
    try #require(stat(path, &status) == 0)
    times = [status.st_atim, status.st_mtim]
    try ChildSurveyTests.child("model.img", of: "base.vhdx", folder)
    let model = try Data(contentsOf: URL(fileURLWithPath: "\(folder.path)/model.img"))
    try FileManager.default.removeItem(atPath: "\(folder.path)/model.img")
    let file = try OpenFile(path, O_RDWR)
    try file.write(Array(model), at: 0)
    try #require(ftruncate(file.descriptor, off_t(model.count)) == 0)
    try #require(utimensat(AT_FDCWD, path, times, 0) == 0)
    #expect(ChildSurveyTests.names(chain.othersEndangered(byChanging: 1...1)) == ["sibling.img"])
  }

  @Test("Names of an image are told apart by their bytes when its parent is looked for")
  func parentsByBytes() throws {
    let folder = try ImageFolder()
    let (composed, decomposed) = ("p\u{E9}.vhdx", "pe\u{301}.vhdx")
    try folder.make(composed)
    try folder.make(decomposed)
    let child = VHDX.ParentLocator(
      linkage: try folder.identity(decomposed), relativePath: ".\\\(composed)",
      absoluteWin32Path: "C:\\\(decomposed)")
    try VHDXImage.create(
      HostFile.create("\(folder.path)/child.vhdx"),
      VHDXCreation(
        kind: .differencing(parent: child, inherited: []), virtualSize: 4 << 20, blockSize: 1 << 20,
        logicalSectorSize: 512))
    #expect(try folder.failure("child.vhdx") == nil)
    // A separator and the mark behind it are two.
    #expect(ParentSearch.steps("..\\\u{301}a.vhdx")?.count == 2)
    #expect(ParentSearch.components("/x/\u{301}a").count == 2)
  }
}
