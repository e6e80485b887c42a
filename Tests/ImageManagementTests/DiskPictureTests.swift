import Foundation
import Storage
import Testing
import VirtualDisk

@testable import ImageManagement

@Suite("The picture of a disk")
struct DiskPictureTests {
  private func picture(_ size: UInt64, name: String = "a.vhdx") -> DiskPicture {
    DiskPicture(name: name, size: size, hasParent: true, made: 0)
  }

  @Test(arguments: [1, 512, 4096, 3 << 20, 64 << 20, 40 << 30, (1 << 40) + 512, 64 << 40] as [UInt64])
  func theGridIsBoundedAndCoversTheDisk(_ size: UInt64) {
    let picture = picture(size)
    #expect(picture.squares.count <= 4096 && !picture.squares.isEmpty)
    #expect(UInt64(picture.squares.count) * picture.squareSize >= size)
    #expect(UInt64(picture.squares.count - 1) * picture.squareSize < size)
  }

  @Test func aSquareHasTheColourOfWhatPrevails() {
    var picture = picture(16 << 20)
    #expect(picture.squareSize == 4096)
    picture.add(0..<4096, .own)
    picture.add(4096..<4196, .own)
    picture.add(4196..<12288, .zero)
    picture.add(12288..<16 << 20, .unmapped)
    picture.addChange(4095..<4097)
    #expect(picture.squares[0].kind == .own)
    #expect(picture.squares[1].kind == .zero)
    #expect(picture.squares[2].kind == .zero)
    #expect(picture.squares[4095].kind == .unmapped)
    #expect(picture.squares.prefix(3).map(\.changed) == [1, 1, 0])
    #expect(picture.totals == [4196, 0, 8092, (16 << 20) - 12288])
    #expect(picture.changed == 2)
  }

  @Test func theDocumentIsXMLWhateverTheName() throws {
    for name in ["a.vhdx", "<script>&\"'\u{1B}[31m\n.vhdx", String(repeating: "é", count: 120)] {
      var picture = picture(1 << 30, name: name)
      picture.add(0..<1 << 29, .own)
      picture.add(1 << 29..<1 << 30, .parent)
      picture.changes = .since(TrackingReportTests.point("monday"))
      let document = text(picture.svg)
      #expect(!document.contains("<script>"))
      #expect(!document.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" })
      #expect(document.hasSuffix("</svg>\n"))
      #expect(document.contains("512 MiB"))
      #expect(document.contains("monday"))
      // Every bracket belongs to an element: as many are opened as closed.
      #expect(document.count { $0 == "<" } == document.count { $0 == ">" })
      #expect(document.utf8.count < 200_000)
    }
  }

  @Test func whatIsUnknownIsSaid() {
    var picture = picture(1 << 30)
    picture.changes = .unknown("Change tracking is off")
    #expect(text(picture.svg).contains("unknown. Change tracking is off."))
  }
}
