import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Change tracking as a user meets it: control/tracking, points/, control/changes.
  @Suite struct TrackingTests {
    static let kinds = ImageKind.typical

    /// What a system call answers: 0 or its errno.
    static func code(_ result: Int32) -> Int32 { result < 0 ? errno : 0 }

    static func openingCode(_ path: String, _ flags: Int32 = O_RDONLY) -> Int32 {
      let file = open(path, flags | O_CLOEXEC)
      if file < 0 { return errno }
      close(file)
      return 0
    }

    static func order(_ word: String, _ path: String) -> Int32 {
      let file = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC)
      if file < 0 { return errno }
      defer { close(file) }
      let line = Array((word + "\n").utf8)
      return Glibc.write(file, line, line.count) == line.count ? 0 : errno
    }

    /// The ranges of an answer, which must be complete.
    static func ranges(_ answer: String, of length: UInt64) throws -> [Range<UInt64>] {
      let lines = answer.split(separator: "\n")
      try #require(lines.first?.hasPrefix("# limit ") == true, "\(answer)")
      try #require(lines.last == "# processed \(length)", "\(answer.suffix(200))")
      return lines.dropFirst().dropLast().map { line in
        let numbers = line.split(separator: " ").compactMap { UInt64($0) }
        return numbers[0]..<(numbers[0] + numbers[1])
      }
    }

    @Test(arguments: TrackingTests.kinds)
    func fromTheFirstPointToTheLastQuestion(kind: ImageKind) throws {
      let workspace = try Workspace()
      let name = try workspace.make(kind, size: "32M")
      let mount = try workspace.mount()
      let control = mount.file(name, "control")
      #expect(try mount.fact("tracking", of: name) == "off")
      #expect(TrackingTests.code(mkdir(mount.file(name, "points/early"), 0o777)) == EPERM)
      #expect(try mount.text(name, "control/error").contains("tracking is off"))
      #expect(TrackingTests.order("on", "\(control)/tracking") == 0)
      #expect(try mount.fact("tracking", of: name) == "on")
      #expect(try mount.text(name, "control/tracking").contains("state on\n"))
      do {
        let disk = try OpenFile(mount.file(name), O_RDWR)
        try disk.write(pattern(seed: 1, count: 1 << 20), at: 0)
        // Online.
        #expect(mkdir(mount.file(name, "points/monday"), 0o777) == 0)
        try disk.write(pattern(seed: 2, count: 10_000), at: 6_000_000)
        try disk.write([1], at: (32 << 20) - 1)
        let answer = try mount.text(name, "control/changes?limit=monday")
        #expect(
          try TrackingTests.ranges(answer, of: 32 << 20) == [
            5_996_544..<6_012_928, (32 << 20) - 4096..<32 << 20,
          ])
        let id = try mount.text(name, "points/monday/id").dropLast()
        #expect(answer.hasPrefix("# limit \(id) target - offset 0 length \(32 << 20)\n"))
        #expect(try mount.text(name, "control/changes?limit=\(id)") == answer)
        let part = try mount.text(name, "control/changes?limit=monday&offset=6000000&length=100")
        #expect(try TrackingTests.ranges(part, of: 100) == [6_000_000..<6_000_100])
      }
      #expect(try names(in: mount.file(name, "points/monday")) == ["created", "id", "info"])
      #expect(mkdir(mount.file(name, "points/tuesday"), 0o777) == 0)
      let nothing = try mount.text(name, "control/changes?limit=tuesday")
      #expect(try TrackingTests.ranges(nothing, of: 32 << 20).isEmpty)
      #expect(rmdir(mount.file(name, "points/monday")) == 0)
      #expect(try names(in: mount.file(name, "points")) == ["tuesday"])
      #expect(TrackingTests.openingCode("\(control)/changes?limit=monday") == ENXIO)
      try mount.unmount()
      // What the command says of the closed image.
      let path = workspace.image(name)
      #expect(try Vhdfs.runChecked(["changes", "--limit", "tuesday", path]) == nothing)
      #expect(try Vhdfs.runChecked(["point", "list", path]).hasPrefix("point tuesday "))
      #expect(try Vhdfs.runChecked(["info", path]).hasSuffix("tracking on\n"))
    }

    @Test func wrongQuestionsHaveTheirOwnErrno() throws {
      let workspace = try Workspace()
      try workspace.create("a.vhdx", "--size", "32M")
      try workspace.create("b.vhdx", "--size", "32M")
      try Vhdfs.runChecked(["tracking", workspace.image("a.vhdx"), "on"])
      try Vhdfs.runChecked(["point", "create", workspace.image("a.vhdx"), "p"])
      let mount = try workspace.mount()
      let size = 32 << 20
      for (question, code, said) in [
        ("", EINVAL, "limit"), ("?", EINVAL, "limit"), ("?limit=", EINVAL, "limit"),
        ("?max=1", EINVAL, "limit"),
        ("?limit=q", ENXIO, "full copy"), ("?limit=p&what=1", EINVAL, "what"),
        ("?limit", EINVAL, "key=value"),
        ("?limit=p&offset=x", EINVAL, "number"), ("?limit=p&length=-1", EINVAL, "number"),
        ("?limit=p&offset=99999999999999999999", EINVAL, "number"), ("?limit=p&max=0", EINVAL, "max"),
        ("?limit=p&offset=\(size)", EINVAL, "end"), ("?limit=p&length=0", EINVAL, "0"),
        ("?limit=p&offset=1&length=\(size)", EINVAL, "inside"), ("?limit=p&target=x", EINVAL, "Sets"),
        ("?limit=p&format=xml", EINVAL, "text or json"), ("?limit=p&limit=p", EINVAL, "once"),
        ("?limit=parent", EOPNOTSUPP, "parent"), ("?limit=p&offset=0&length=\(size)", 0, ""),
      ] as [(String, Int32, String)] {
        #expect(
          TrackingTests.openingCode(mount.file("a.vhdx", "control/changes\(question)")) == code, "\(question)"
        )
        let error = try mount.text("a.vhdx", "control/error")
        #expect(error.contains(said), "\(question): \(error)")
      }
      #expect(TrackingTests.openingCode(mount.file("b.vhdx", "control/changes?limit=p")) == ENOENT)
      #expect(TrackingTests.openingCode(mount.file("a.vhdx", "control/changes"), O_WRONLY) == EINVAL)
      #expect(TrackingTests.order("perhaps", mount.file("a.vhdx", "control/tracking")) == EINVAL)
      #expect(TrackingTests.order("on", mount.file("a.vhdx", "control/info")) == EACCES)
      #expect(TrackingTests.order("off", mount.file("a.vhdx", "control/tracking")) == 0)
      #expect(TrackingTests.openingCode(mount.file("a.vhdx", "control/changes?limit=p")) == EPERM)
      #expect(try names(in: mount.file("a.vhdx", "points")).isEmpty)
      try mount.unmount()
      // The same by the command, as its exit status.
      let path = workspace.image("a.vhdx")
      #expect(try Vhdfs.run(["changes", "--limit", "p", path]).status == 17)
      #expect(try Vhdfs.run(["changes", "--limit", "p", workspace.image("b.vhdx")]).status == 21)
      try Vhdfs.runChecked(["tracking", path, "on"])
      #expect(try Vhdfs.run(["changes", "--limit", "p", path]).status == 31)
      #expect(try Vhdfs.run(["changes", "--limit", "p", "--offset", "32M", path]).status == 15)
      #expect(try Vhdfs.run(["changes", "--limit", "parent", path]).status == 12)
    }

    @Test func aDamagedRecordAndAForeignWriteAreRefused() throws {
      let workspace = try Workspace()
      for name in ["a.vhdx", "b.vhdx"] {
        try workspace.create(name, "--size", "32M")
        try Vhdfs.runChecked(["tracking", workspace.image(name), "on"])
        try Vhdfs.runChecked(["point", "create", workspace.image(name), "p"])
      }
      let record = try OpenFile(workspace.image("a.vhdx.tracking"), O_RDWR)
      try record.write(Array(repeating: 0x55, count: 8192), at: 0)
      try runChecked(["qemu-io", "-f", "vhdx", "-c", "write -P 3 1M 4k", workspace.image("b.vhdx")])
      let mount = try workspace.mount()
      #expect(TrackingTests.openingCode(mount.file("a.vhdx", "control/changes?limit=p")) == EBADMSG)
      #expect(TrackingTests.openingCode(mount.file("b.vhdx", "control/changes?limit=p")) == ESTALE)
      for name in ["a.vhdx", "b.vhdx"] {
        #expect(try mount.fact("tracking", of: name) == "refused")
        #expect(try mount.text(name, "control/tracking").contains("\nreason "))
        #expect(TrackingTests.order("on", mount.file(name, "control/tracking")) != 0)
        #expect(try names(in: mount.file(name, "points")).isEmpty)
        let list = try Vhdfs.run(["point", "list", workspace.image(name)])
        #expect(list.status == (name == "a.vhdx" ? 18 : 17), "\(list.summary)")
        #expect(TrackingTests.order("reset", mount.file(name, "control/tracking")) == 0)
        #expect(try mount.fact("tracking", of: name) == "on")
      }
      try mount.unmount()
    }

    @Test func pointsAreDirectories() throws {
      let workspace = try Workspace()
      try workspace.create("a.vhdx", "--size", "32M")
      let mount = try workspace.mount()
      let points = mount.file("a.vhdx", "points")
      #expect(try names(in: points).isEmpty)
      #expect(TrackingTests.order("on", mount.file("a.vhdx", "control/tracking")) == 0)
      for name in ["parent", "a b", "ä", String(repeating: "x", count: 65), "a:b"] {
        #expect(TrackingTests.code(mkdir("\(points)/\(name)", 0o777)) == EINVAL, "\(name)")
        #expect(try mount.text("a.vhdx", "control/error").contains("1 to 64"))
      }
      let longest = String(repeating: "x", count: 64)
      #expect(mkdir("\(points)/\(longest)", 0o777) == 0)
      #expect(TrackingTests.code(mkdir("\(points)/\(longest)", 0o777)) == EEXIST)
      var status = stat()
      #expect(stat("\(points)/\(longest)", &status) == 0)
      let inode = status.st_ino
      #expect(status.st_mode & 0o7777 == 0o500)
      #expect(stat("\(points)/\(longest)/id", &status) == 0 && status.st_mode & 0o7777 == 0o400)
      let created = try textOfFile("\(points)/\(longest)/created")
      #expect(created.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n/) != nil)
      let id = try textOfFile("\(points)/\(longest)/id")
      #expect(try textOfFile("\(points)/\(longest)/info").contains("id \(id)"))
      #expect(try textOfFile("\(points)/\(longest)/info?format=json").hasPrefix("{"))
      // Nothing else can be done to names.
      #expect(TrackingTests.code(rename("\(points)/\(longest)", "\(points)/y")) == EPERM)
      #expect(TrackingTests.code(rmdir("\(points)/none")) == ENOENT)
      #expect(TrackingTests.code(unlink("\(points)/\(longest)/id")) == EPERM)
      #expect(TrackingTests.code(mkdir(mount.file("a.vhdx", "control/x"), 0o777)) == EPERM)
      #expect(TrackingTests.code(mkdir("\(mount.path)/x", 0o777)) == EPERM)
      #expect(TrackingTests.openingCode("\(points)/file", O_WRONLY | O_CREAT) == EPERM)
      // The name again, another point.
      #expect(rmdir("\(points)/\(longest)") == 0)
      #expect(mkdir("\(points)/\(longest)", 0o777) == 0)
      #expect(stat("\(points)/\(longest)", &status) == 0 && status.st_ino != inode)
      #expect(try textOfFile("\(points)/\(longest)/id") != id)
      // Switched off and on, at once: the names are free.
      #expect(TrackingTests.order("off", mount.file("a.vhdx", "control/tracking")) == 0)
      #expect(TrackingTests.order("on", mount.file("a.vhdx", "control/tracking")) == 0)
      #expect(mkdir("\(points)/\(longest)", 0o777) == 0)
      try mount.unmount()
    }

    @Test func aThousandPointsAreListed() throws {
      let workspace = try Workspace()
      try workspace.create("a.vhdx", "--size", "32M")
      let mount = try workspace.mount()
      #expect(TrackingTests.order("on", mount.file("a.vhdx", "control/tracking")) == 0)
      let disk = try OpenFile(mount.file("a.vhdx"), O_RDWR)
      let points = mount.file("a.vhdx", "points")
      let expected = (0..<1001).map { "p\(1000 + $0)" }
      for name in expected { #expect(mkdir("\(points)/\(name)", 0o777) == 0) }
      try disk.write([1], at: 0)
      #expect(try names(in: points) == expected)
      #expect(try runChecked(["ls", "-l", points]).split(separator: "\n").count == 1002)
      let ids = Set(try expected.map { try textOfFile("\(points)/\($0)/id") })
      #expect(ids.count == 1001)
      let answer = try mount.text("a.vhdx", "control/changes?limit=p1500")
      #expect(try TrackingTests.ranges(answer, of: 32 << 20) == [0..<4096])
      #expect(try mount.text("a.vhdx", "control/tracking").contains("\npoints 1001\n"))
    }
  }
}
