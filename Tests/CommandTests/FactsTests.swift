import Foundation
import Glibc
import TestSupport
import Testing

@Suite("info and map")
struct FactsTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func object(_ json: String) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
  }

  @Test func textAndJSONSayTheSame() throws {
    let path = directory.file("a.vhdx")
    try Vhdfs.create(path, ["--size", "64M"])
    let lines = try Vhdfs.runChecked(["info", path]).split(separator: "\n")
    let object = try object(try Vhdfs.runChecked(["info", "--json", path]))
    #expect(lines.count == object.count)
    for line in lines {
      let parts = line.split(separator: " ", maxSplits: 1)
      let value = try #require(object[String(parts[0])])
      switch value {
      case let text as String: #expect(text == parts[1])
      case let number as NSNumber: #expect(number.uint64Value == UInt64(parts[1]))
      default: Issue.record("\(line)")
      }
    }
    #expect(lines.first == "path \(path)")
    #expect(lines.contains("state offline"))
    #expect(lines.contains("read_only 0"))
  }

  /// A link may have another name than the image, and lie in another directory.
  @Test func anImageBehindALink() throws {
    let path = directory.file("image.vhdx")
    let link = try directory.directory("elsewhere") + "/link.vhdx"
    try Vhdfs.create(path, ["--size", "4M"])
    #expect(symlink(path, link) == 0)
    #expect(try Vhdfs.runChecked(["info", link]).hasPrefix("path \(path)\n"))
    #expect(try Vhdfs.runChecked(["info", "--chain", link]).contains("path \(path)\n"))
    #expect(try Vhdfs.runChecked(["map", link]).hasSuffix("# processed 4194304\n"))
    let child = directory.file("child.vhdx")
    try Vhdfs.create(child, ["--parent", link])
    #expect(try Vhdfs.runChecked(["map", child]).contains("# file 1 \(path)\n"))
    // With names that say no directory.
    let made = try runChecked([
      "sh", "-c", "cd \"$1\" && \"$2\" create --json --parent image.vhdx second.vhdx", "sh", directory.path,
      Vhdfs.program,
    ])
    #expect(try object(made)["type"] as? String == "differencing")
  }

  @Test func aDirectoryIsNoImage() throws {
    let result = try Vhdfs.run(["info", directory.path])
    #expect(result.status == 15)
    #expect(result.errors.contains("is a directory"), "\(result.summary)")
    #expect(result.output.isEmpty)
  }

  @Test(.requiresPrograms("script"))
  func atATerminalSizesAreInWordsToo() throws {
    let path = directory.file("a.vhdx")
    try Vhdfs.create(path, ["--size", "1536M"])
    let shown = try runChecked(["script", "-qec", "'\(Vhdfs.program)' info '\(path)'", "/dev/null"])
    #expect(shown.contains("virtual_size 1610612736 (1.5 GiB)"), "\(shown)")
    #expect(shown.contains("logical_sector_size 512\r\n"))
    #expect(try Vhdfs.runChecked(["info", path]).contains("\nvirtual_size 1610612736\n"))
  }

  @Test func aParentIsSaidToBeReadOnlyAndWhy() throws {
    try Vhdfs.create(directory.file("base.vhdx"), ["--size", "64M"])
    try Vhdfs.create(directory.file("child.vhdx"), ["--parent", directory.file("base.vhdx")])
    let lines = try Vhdfs.runChecked(["info", directory.file("base.vhdx")]).split(separator: "\n")
    #expect(lines.contains("read_only 1"))
    #expect(lines.contains { $0.hasPrefix("reason ") && $0.contains("child.vhdx") })
  }

  @Test func lookingChangesNothing() throws {
    let path = directory.file("a.vhdx")
    try Vhdfs.create(path, ["--size", "64M"])
    let before = try runChecked(["sha256sum", path])
    for words in [["info"], ["info", "--chain"], ["info", "--json"], ["map"], ["map", "--json"]] {
      try Vhdfs.runChecked(words + [path])
    }
    #expect(try runChecked(["sha256sum", path]) == before)
  }

  @Test(.requiresPrograms("qemu-io"), arguments: [[], ["--type", "fixed"]])
  func theMapAgreesWithWhatWasWritten(_ options: [String]) throws {
    let path = directory.file("a.vhdx")
    try Vhdfs.create(path, ["--size", "64M", "--block-size", "1M"] + options)
    try runChecked(["qemu-io", "-f", "vhdx", "-c", "write -P 7 5M 2M", path])
    let text = try Vhdfs.runChecked(["map", path])
    let ranges = text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { $0.split(separator: " ") }
    // Without a gap from the first byte to the last.
    var end: UInt64 = 0
    for range in ranges {
      #expect(UInt64(range[0]) == end)
      end += UInt64(range[1]) ?? 0
    }
    #expect(end == 64 << 20)
    #expect(text.hasSuffix("\n# processed \(64 << 20)\n"))
    // The bytes lie where the map says.
    let data = try #require(ranges.last { $0[2] == "data" && (UInt64($0[0]) ?? 0) <= 5 << 20 })
    let start = (UInt64(data[4]) ?? 0) + 5 << 20 - (UInt64(data[0]) ?? 0)
    #expect(try OpenFile(path).read(at: start, count: 4096) == Array(repeating: 7, count: 4096))
    let json = try object(try Vhdfs.runChecked(["map", "--json", path]))
    let members = try #require(json["ranges"] as? [[String: Any]])
    #expect(members.count == ranges.count)
    for (member, range) in zip(members, ranges) {
      #expect(member["offset"] as? UInt64 == UInt64(range[0]))
      #expect(member["length"] as? UInt64 == UInt64(range[1]))
      #expect(member["kind"] as? String == String(range[2]))
      #expect(member["file_offset"] as? UInt64 == UInt64(range[4]))
    }
    #expect(json["processed_byte_length"] as? Int == 64 << 20)
  }

  @Test func aRegionIsClippedAndChecked() throws {
    let path = directory.file("a.vhdx")
    try Vhdfs.create(path, ["--size", "64M"])
    let part = try Vhdfs.runChecked(["map", "--offset", "1M", "--length", "4096", path])
    #expect(part.contains("\n1048576 4096 unmapped 0 -\n# processed 4096\n"))
    let beyond = try Vhdfs.run(["map", "--offset", "60M", "--length", "5M", path])
    #expect(beyond.status == 15)
    #expect(beyond.output.isEmpty)
  }

  @Test(.requiresMount)
  func aRunningMountIsAsked() throws {
    let images = try directory.directory("images")
    let path = "\(images)/a.vhdx"
    try Vhdfs.create(path, ["--size", "64M"])
    let mount = try VhdfsMount([images], at: try directory.directory("mnt"))
    #expect(try Vhdfs.runChecked(["info", path]).contains("\nstate offline\n"))
    do {
      let disk = try OpenFile(mount.file("a.vhdx"), O_RDWR)
      try disk.write(Array(repeating: 1, count: 4096), at: 1 << 20)
      // The table that speaks of the block may be in no file yet: only the mount knows of it.
      #expect(try Vhdfs.runChecked(["info", path]).contains("\nstate online\n"))
      #expect(try object(try Vhdfs.runChecked(["info", "--json", path]))["state"] as? String == "online")
      #expect(try Vhdfs.runChecked(["info", "--chain", path]).hasPrefix("depth 0\npath \(path)\n"))
      let map = try Vhdfs.runChecked(["map", path])
      #expect(map.contains(" data 0 "), "\(map)")
      // Another image of the same name is another image.
      let other = directory.file("a.vhdx")
      try Vhdfs.create(other, ["--size", "32M"])
      #expect(try Vhdfs.runChecked(["info", other]).contains("\nstate offline\n"))
    }
    try mount.unmount()
    #expect(try Vhdfs.runChecked(["info", path]).contains("\nstate offline\n"))
  }
}
