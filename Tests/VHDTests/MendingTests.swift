import Storage
import TestSupport
import Testing
import VHD

@Suite("What is mended before a VHD is written")
struct MendingTests {
  enum Damage: CaseIterable { case copyBroken, footerShort, footerLost }

  static func image(_ kind: VHDCreation.Kind, _ damage: Damage) throws -> RecordedFile {
    let file = RecordedFile()
    try VHDImage.create(
      HostFile(path: "new", double: file), VHDCreation(kind: kind, virtualSize: 4 << 20, blockSize: 512 << 10)
    )
    var contents = file.contents
    switch damage {
    case .copyBroken: contents.zero(at: 0, length: 512)
    case .footerShort: contents.resize(to: contents.size - 1)
    case .footerLost: contents.resize(to: contents.size - 512)
    }
    return RecordedFile(contents)
  }

  @Test("A mended footer is durable before anything else changes", arguments: Damage.allCases)
  func dynamic(_ damage: Damage) throws {
    let file = try MendingTests.image(.dynamic, damage)
    let image = try VHDImage(HostFile(path: "damaged", double: file))
    #expect(file.operationCount == 0)
    try image.beginWriting()
    #expect(file.operationCount > file.flushCount, "nothing was mended")
    #expect(file.pendingCount == 0, "what was mended could be lost")
    let again = try VHDImage(HostFile(path: "mended", double: RecordedFile(file.contents)))
    #expect(again.virtualSize == 4 << 20)
    // Mended for good: the next session has nothing to do.
    let next = RecordedFile(file.contents)
    try VHDImage(HostFile(path: "mended", double: next)).beginWriting()
    #expect(next.operationCount == 0)
  }

  @Test("So is the last byte of a fixed disk's footer")
  func fixed() throws {
    let file = try MendingTests.image(.fixed(reserve: false), .footerShort)
    let image = try VHDImage(HostFile(path: "damaged", double: file))
    try image.beginWriting()
    #expect(file.operationCount > file.flushCount, "nothing was mended")
    #expect(file.pendingCount == 0, "what was mended could be lost")
  }

  @Test("A footer that is lost goes behind all that the file holds")
  func behindEverything() throws {
    let file = try MendingTests.image(.dynamic, .footerLost)
    let size = file.contents.size
    try VHDImage(HostFile(path: "damaged", double: file)).beginWriting()
    #expect(file.contents.size == size + 512)
  }

  @Test("A new image has nothing to lose", arguments: [VHDCreation.Kind.fixed(reserve: false), .dynamic])
  func creation(_ kind: VHDCreation.Kind) throws {
    let file = RecordedFile()
    try VHDImage.create(
      HostFile(path: "new", double: file), VHDCreation(kind: kind, virtualSize: 4 << 20, blockSize: 512 << 10)
    )
    #expect(file.pendingCount == 0 && file.flushCount > 0)
  }
}
