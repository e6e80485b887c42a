import Glibc
import TestSupport
import Testing

/// The life of the process that serves a mount, from start to end.
@Suite(.requiresMount, .serialized) struct LifeTests {
  /// A directory with one image, and a mount point, and a mount served in the background.
  private final class Background {
    let root: TemporaryDirectory
    let images: String
    let point: String

    init(_ options: [String] = []) throws {
      root = try TemporaryDirectory()
      images = try root.directory("images")
      point = try root.directory("mount")
      try Vhdfs.create("\(images)/a.vhdx", ["--size", "64M"])
      try Vhdfs.runChecked(["mount"] + options + [images, point])
    }

    var disk: String { "\(point)/a.vhdx/disk" }

    func server() throws -> Int32 {
      let words = try textOfFile("\(point)/.daemon").split(whereSeparator: \.isWhitespace)
      return try #require(words.last.flatMap { Int32($0) })
    }

    /// A process that has ended may be listed until its parent has asked for its status.
    static func isRunning(_ process: Int32) -> Bool {
      guard let status = try? textOfFile("/proc/\(process)/status") else { return false }
      return !status.contains("State:\tZ")
    }

    deinit { if VhdfsMount.isMountPoint(point) { _ = try? run(["umount", "-i", "-l", point]) } }
  }

  @Test func theCommandReturnsWhenTheMountIsReady() throws {
    let mount = try Background()
    #expect(try names(in: mount.point) == ["a.vhdx"])
    #expect(try names(in: "\(mount.point)/a.vhdx") == ["control", "disk", "partitions", "points"])
    let server = try mount.server()
    // systemd spares storage daemons by this sign.
    #expect(try textOfFile("/proc/\(server)/cmdline").hasPrefix("@vhdfs"))
    #expect(try textOfFile("/proc/\(server)/comm") == "vhdfs\n")
    #expect(try textOfFile("/proc/self/mountinfo").contains(" - fuse.vhdfs \(mount.images) "))
    try Vhdfs.runChecked(["unmount", mount.point])
    #expect(!Background.isRunning(server))
    #expect(!VhdfsMount.isMountPoint(mount.point))
  }

  @Test func whatIsWrongIsSaidByTheCommand() throws {
    let root = try TemporaryDirectory()
    let images = try root.directory("images")
    let file = root.file("file")
    try writeFile(file, [])
    for (words, expected) in [
      (["mount", images, file], "not a directory"),
      (["mount", images, images], "lies on the mount point"),
      (["mount", root.file("none"), root.path], "none"),
      (["mount", "-o", "bogus", images, root.path], "bogus"),
    ] {
      let result = try Vhdfs.run(words)
      #expect(result.status != 0, "\(result.summary)")
      #expect(result.errors.contains(expected), "\(result.summary)")
      #expect(result.errors.split(separator: "\n").count == 1, "\(result.summary)")
    }
    #expect(!VhdfsMount.isMountPoint(root.path))
  }

  @Test func aMountIsNotMountedOver() throws {
    let mount = try Background()
    let result = try Vhdfs.run(["mount", mount.images, mount.point])
    #expect(result.errors.contains("mounted there already"), "\(result.summary)")
    try Vhdfs.runChecked(["unmount", mount.point])
  }

  @Test func aDeadMountIsCleared() throws {
    let mount = try Background()
    kill(try mount.server(), SIGKILL)
    #expect(eventually(within: 5) { !fileExists("\(mount.point)/none") && errno == ENOTCONN })
    try Vhdfs.runChecked(["mount", mount.images, mount.point])
    #expect(try names(in: mount.point) == ["a.vhdx"])
    try Vhdfs.runChecked(["unmount", mount.point])
    #expect(!VhdfsMount.isMountPoint(mount.point))
  }

  @Test func unmountingADeadMountSaysThatItDied() throws {
    let mount = try Background()
    kill(try mount.server(), SIGKILL)
    #expect(eventually(within: 5) { !fileExists("\(mount.point)/none") && errno == ENOTCONN })
    let result = try Vhdfs.run(["unmount", mount.point])
    #expect(result.status != 0)
    #expect(result.errors.contains("died"), "\(result.summary)")
    #expect(!VhdfsMount.isMountPoint(mount.point))
  }

  @Test func aDeathWhileSomebodyWaitsIsTold() throws {
    let mount = try Background()
    let server = try mount.server()
    kill(server, SIGSTOP)
    let unmounting = try RunningProgram([Vhdfs.program, "unmount", mount.point])
    usleep(300_000)
    kill(server, SIGKILL)
    let result = unmounting.wait(timeout: 10)
    #expect(result.status != 0 && !result.timedOut, "\(result.summary)")
  }

  @Test func whoUsesAMountIsNamed() throws {
    let mount = try Background()
    let user = try RunningProgram(["sleep", "60"], directory: "\(mount.point)/a.vhdx")
    let result = try Vhdfs.run(["unmount", mount.point])
    #expect(result.errors.contains("sleep (process \(user.pid))"), "\(result.summary)")
    #expect(VhdfsMount.isMountPoint(mount.point))
    kill(user.pid, SIGKILL)
    user.wait(timeout: 5)
    try Vhdfs.runChecked(["unmount", mount.point])
  }

  @Test func aStopWaitsForTheLastFile() throws {
    let mount = try Background()
    let server = try mount.server()
    var file: OpenFile? = try OpenFile(mount.disk, O_RDWR)
    try file?.write(pattern(seed: 1, count: 4096), at: 0)
    kill(server, SIGTERM)
    usleep(200_000)
    #expect(Background.isRunning(server))
    let second = open(mount.disk, O_RDONLY | O_CLOEXEC)
    #expect(second < 0 && errno == ESHUTDOWN)
    #expect(try textOfFile("\(mount.point)/a.vhdx/control/error").contains("stopping"))
    try file?.write(pattern(seed: 2, count: 4096), at: 4096)
    #expect(try file?.read(at: 0, count: 4096) == pattern(seed: 1, count: 4096))
    file = nil
    #expect(eventually(within: 5) { !Background.isRunning(server) })
    #expect(!VhdfsMount.isMountPoint(mount.point))
    try Vhdfs.runChecked(["mount", "-r", mount.images, mount.point])
    #expect(try OpenFile(mount.disk).read(at: 4096, count: 4096) == pattern(seed: 2, count: 4096))
    try Vhdfs.runChecked(["unmount", mount.point])
  }

  @Test func aSecondSignalDoesNotWait() throws {
    let mount = try Background()
    let server = try mount.server()
    let file = try OpenFile(mount.disk, O_RDWR)
    try file.write(pattern(seed: 3, count: 4096), at: 0)
    kill(server, SIGTERM)
    usleep(200_000)
    kill(server, SIGTERM)
    #expect(eventually(within: 5) { !Background.isRunning(server) })
    #expect(!VhdfsMount.isMountPoint(mount.point))
    _ = consume file
    try Vhdfs.runChecked(["mount", "-r", mount.images, mount.point])
    #expect(try OpenFile(mount.disk).read(at: 0, count: 4096) == pattern(seed: 3, count: 4096))
    try Vhdfs.runChecked(["unmount", mount.point])
  }

  @Test func aDetachedMountServesWhatIsOpen() throws {
    let mount = try Background()
    let server = try mount.server()
    var file: OpenFile? = try OpenFile(mount.disk, O_RDWR)
    try runChecked(["umount", "-i", "-l", mount.point])
    try file?.write(pattern(seed: 4, count: 4096), at: 0)
    #expect(Background.isRunning(server))
    file = nil
    #expect(eventually(within: 5) { !Background.isRunning(server) })
    try Vhdfs.runChecked(["mount", "-r", mount.images, mount.point])
    #expect(try OpenFile(mount.disk).read(at: 0, count: 4096) == pattern(seed: 4, count: 4096))
    try Vhdfs.runChecked(["unmount", mount.point])
  }

  @Test func ownersAndModes() throws {
    let mount = try Background(["-o", "uid=1234,gid=99,umask=0070,allow_other"])
    for (name, mode) in [
      ("", 0o500), ("a.vhdx", 0o700), ("a.vhdx/disk", 0o600), ("a.vhdx/partitions", 0o500),
      ("a.vhdx/control", 0o700), ("a.vhdx/control/info", 0o400), ("a.vhdx/control/info?format=json", 0o400),
    ] as [(String, mode_t)] {
      var status = stat()
      #expect(stat("\(mount.point)/\(name)", &status) == 0)
      #expect(status.st_mode & 0o777 == mode, "\(name)")
      #expect(status.st_uid == 1234 && status.st_gid == 99, "\(name)")
    }
    try Vhdfs.runChecked(["unmount", mount.point])
  }
}
