import Storage
import Testing
import VirtualDisk

@testable import MountedView

@Suite struct MountOptionTests {
  private func options(_ words: String) throws -> MountOptions {
    var options = MountOptions(sources: ["a"], mountPoint: "b")
    try options.apply(words: words)
    return options
  }

  @Test func knownWords() throws {
    let options = try options("ro,allow_other,uid=1000,gid=0,umask=077,parents=/a\\,b,parents=/c")
    #expect(options.isReadOnly)
    #expect(options.allowsOthers)
    #expect(options.owner == 1000)
    #expect(options.group == 0)
    #expect(options.mask == 0o077)
    #expect(options.parentDirectories == ["/a,b", "/c"])
  }

  @Test func howChangesAreTracked() throws {
    var expected = TrackingOptions()
    #expect(try options("ro").tracking == expected)
    expected.tracksAll = true
    #expect(try options("track").tracking == expected)
    expected.isStrict = true
    expected.isSoleWriter = true
    #expect(try options("tracking=strict,sole-writer,track").tracking == expected)
  }

  @Test func theLastOfTwoCounts() throws {
    #expect(try !options("ro,rw").isReadOnly)
    #expect(try options("rw,ro").isReadOnly)
  }

  @Test func wordsOfOthersArePassedOver() throws {
    let words =
      "defaults,nofail,_netdev,noauto,x-systemd.automount,x-systemd.idle-timeout=9,user,nodev,noatime,,"
    #expect(try options(words) == MountOptions(sources: ["a"], mountPoint: "b"))
  }

  @Test(arguments: [
    "bogus", "ro=1", "uid", "uid=", "uid=-1", "uid=x", "uid=+1", "uid=4294967296", "umask=8", "umask=1000",
    "parents=",
    "allow_other=1", "track=1", "tracking", "tracking=", "tracking=lax", "sole-writer=1",
  ])
  func whatIsNotUnderstoodIsRefused(_ word: String) {
    let error = #expect(throws: ImageError.self) { try options(word) }
    #expect(error?.returnValue == .invalidParameter)
    #expect(error?.sentence.contains(word) == true)
  }

  @Test func whatIsHandedToTheBackgroundIsTheSame() {
    var options = MountOptions(sources: ["/a"], mountPoint: "/b")
    options.isReadOnly = true
    options.allowsOthers = true
    options.owner = 5
    options.group = 6
    options.mask = 0o27
    options.tracking.tracksAll = true
    options.tracking.isStrict = true
    options.tracking.isSoleWriter = true
    options.parentDirectories = ["/p,q", "-r"]
    #expect(
      options.commandLine == [
        "--read-only", "-o", "allow_other", "-o", "uid=5", "-o", "gid=6", "-o", "umask=27", "-o", "track",
        "-o", "tracking=strict", "-o", "sole-writer", "--parents=/p,q",
        "--parents=-r", "--", "/a", "/b",
      ])
  }
}
