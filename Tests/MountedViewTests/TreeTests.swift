import Storage
import Testing
import VirtualDisk

@testable import MountedView

@Suite struct TreeTests {
  private func entry(_ name: String, inode: UInt64, broken: Bool = false) -> ImageEntry {
    let facts = ImageFacts(
      format: .vhdx, type: .dynamic, virtualSize: 1 << 30,
      hostStatus: HostFileStatus(size: 4096, allocated: 4096, modified: 0), blockSize: 1 << 20,
      logicalSectorSize: 512, physicalSectorSize: 4096, virtualDiskID: .zero, creator: "", isAligned4K: true)
    return ImageEntry(
      name: name, path: "/images/\(name)", identity: FileIdentity(device: 1, inode: inode),
      facts: broken ? .failure(.damaged(name, "is cut")) : .success(facts), readOnlyReason: nil,
      isOnline: false)
  }

  @Test func numbersTellWhatTheyStandFor() {
    let places: [NodeNumber.Place] =
      [.image, .disk, .partitions, .control, .partition(1), .partition(NodeNumber.largestPartition)]
      + ControlFile.allCases.map(NodeNumber.Place.facts)
    var seen: Set<NodeNumber> = [.root, .daemon]
    for serial in [1, 2, 1 << 30] as [UInt64] {
      for place in places {
        let number = NodeNumber(image: serial, place)
        #expect(number.serial == serial)
        #expect(number.place == place)
        #expect(!number.isQuery)
        #expect(seen.insert(number).inserted)
      }
    }
    #expect(NodeNumber(query: 7).isQuery)
    #expect(NodeNumber(query: 7).place == nil)
    #expect(NodeNumber.root.place == nil)
    #expect(NodeNumber.daemon.place == nil)
  }

  @Test func numbersStayWhileAnImageIsThere() throws {
    let tree = Tree()
    _ = tree.update([entry("a.vhdx", inode: 1)])
    let first = try #require(tree.image(named: "a.vhdx"))
    let change = tree.update([entry("a.vhdx", inode: 1), entry("b.vhdx", inode: 2)])
    #expect(tree.image(named: "a.vhdx") === first)
    #expect(change.appeared.map(\.name) == ["b.vhdx"])
    #expect(change.vanished.isEmpty)
  }

  @Test func anotherFileOfTheSameNameIsAnotherImage() throws {
    let tree = Tree()
    _ = tree.update([entry("a.vhdx", inode: 1)])
    let first = try #require(tree.image(named: "a.vhdx"))
    let change = tree.update([entry("a.vhdx", inode: 2)])
    #expect(change.vanished == ["a.vhdx"])
    let second = try #require(tree.image(named: "a.vhdx"))
    #expect(second.serial != first.serial)
    #expect(!tree.isPresent(first))
    #expect(tree.isPresent(second))
  }

  @Test func aHalfCopiedImageIsTriedAgain() throws {
    let tree = Tree()
    _ = tree.update([entry("a.vhdx", inode: 1, broken: true)])
    #expect(tree.image(named: "a.vhdx")?.isBroken == true)
    let change = tree.update([entry("a.vhdx", inode: 1)])
    #expect(change.changedState.map(\.name) == ["a.vhdx"])
    #expect(tree.image(named: "a.vhdx")?.isBroken == false)
  }

  @Test func whatIsGoneIsRememberedUntilTheKernelForgetsIt() throws {
    let tree = Tree()
    _ = tree.update([entry("a.vhdx", inode: 1), entry("b.vhdx", inode: 2)])
    let image = try #require(tree.image(named: "a.vhdx"))
    let directory = NodeNumber(image: image.serial, .image)
    let disk = NodeNumber(image: image.serial, .disk)
    tree.countLookup(directory)
    tree.countLookup(disk)
    tree.countLookup(disk)
    _ = tree.update([])
    // Nobody knew b: it is gone at once.
    #expect(tree.counts.images == 1)
    #expect(tree.image(named: "a.vhdx") == nil)
    guard case .place(let known, .disk)? = tree.node(disk) else {
      Issue.record("the disk's node is forgotten too early")
      return
    }
    #expect(known === image)
    tree.forget(disk, 2)
    #expect(tree.counts.images == 1)
    tree.forget(directory, 1)
    #expect(tree.counts.images == 0)
    #expect(tree.node(disk) == nil)
  }

  /// One that has gone can be looked up as long as it is wanted and no other file has the name.
  @Test func whatIsGoneMayBeKept() throws {
    let tree = Tree()
    _ = tree.update([entry("a.vhdx", inode: 1), entry("b.vhdx", inode: 2)])
    let first = try #require(tree.image(named: "a.vhdx"))
    let kept = { (image: ImageView) in image.name == "a.vhdx" }
    #expect(tree.update([], keeping: kept).vanished.sorted() == ["a.vhdx", "b.vhdx"])
    #expect(tree.image(named: "a.vhdx") == nil && tree.images.isEmpty && !tree.isPresent(first))
    #expect(tree.goneImage(named: "a.vhdx") === first && tree.goneImage(named: "b.vhdx") == nil)
    guard case .place(let known, .control)? = tree.node(NodeNumber(image: first.serial, .control)) else {
      Issue.record("its nodes are forgotten")
      return
    }
    #expect(known === first && tree.counts.images == 1)
    _ = tree.update([entry("a.vhdx", inode: 3)], keeping: kept)
    #expect(tree.goneImage(named: "a.vhdx") == nil && tree.image(named: "a.vhdx") !== first)
    _ = tree.update([], keeping: { $0 === first })
    #expect(tree.goneImage(named: "a.vhdx") === first && tree.counts.images == 1)
    _ = tree.update([])
    #expect(tree.goneImage(named: "a.vhdx") == nil && tree.counts.images == 0)
  }

  @Test func namesWithAQueryAreForgotten() throws {
    let tree = Tree()
    _ = tree.update([entry("a.vhdx", inode: 1)])
    let image = try #require(tree.image(named: "a.vhdx"))
    let query = try #require(ControlQuery(name: "info?format=json"))
    let number = tree.queryNode(image, query)
    tree.countLookup(number)
    #expect(tree.queryNode(image, query) == number)
    tree.countLookup(number)
    guard case .query(_, query)? = tree.node(number) else {
      Issue.record("the query's node is not known")
      return
    }
    tree.forget(number, 1)
    #expect(tree.counts.queries == 1)
    tree.forget(number, 5)
    #expect(tree.counts.queries == 0)
    #expect(tree.node(number) == nil)
    // Given back once too often, or never given: nothing happens.
    tree.forget(number, 1)
    tree.forget(NodeNumber(rawValue: 1 << 40), 1)
  }

  @Test func namesThatNoDirectoryCanHoldAreLeftOut() {
    let tree = Tree()
    _ = tree.update([entry(".daemon", inode: 1), entry("..", inode: 2), entry("a/b.vhdx", inode: 3)])
    #expect(tree.images.isEmpty)
  }
}
