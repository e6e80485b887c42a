import Testing

@testable import MountedView

@Suite struct MountTableTests {
  private func entry(_ line: String) -> MountEntry? { MountEntry(line: ArraySlice(line.utf8)) }

  @Test func linesOfMountinfo() throws {
    let ours = try #require(
      entry("36 35 0:48 / /mnt/my\\040images rw,nosuid shared:7 master:2 - fuse.vhdfs /srv/vm rw,user_id=0"))
    #expect(ours.mountPoint == "/mnt/my images")
    #expect(ours.isOurs)
    #expect(ours.source == "/srv/vm")
    #expect(entry("36 35 0:48 / /a rw - ext4 /dev/sda1 rw")?.isOurs == false)
  }

  @Test(arguments: ["", "36 35 0:48 / /a rw", "36 35 0:48 / /a rw -", "36 35 0:48 - - - -"])
  func whatIsNoLineIsPassedOver(_ line: String) { #expect(entry(line) == nil) }
}
