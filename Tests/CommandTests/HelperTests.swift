import Glibc
import TestSupport
import Testing

@Suite("The helpers of mount(8) and umount(8)", .requiresMount)
struct HelperTests {
  let directory: TemporaryDirectory
  let images: String
  let point: String

  init() throws {
    directory = try TemporaryDirectory()
    images = try directory.directory("images")
    point = try directory.directory("mnt")
    try Vhdfs.create("\(images)/a.vhdx", ["--size", "64M"])
    for name in ["mount.vhdfs", "umount.fuse.vhdfs"] {
      try runChecked(["ln", "-s", Vhdfs.program, directory.file(name)])
    }
  }

  private func mount(_ options: [String], _ source: String? = nil) throws -> ProgramResult {
    try run([directory.file("mount.vhdfs"), source ?? images, point] + options)
  }

  private func unmount(_ options: [String] = []) throws -> ProgramResult {
    try run([directory.file("umount.fuse.vhdfs"), point] + options)
  }

  @Test(arguments: [
    [], ["-o", "rw"], ["-o", "ro,nofail,_netdev,x-systemd.automount,noauto,user,defaults"], ["-sv", "-n"],
    ["-t", "vhdfs", "-o", "rw"], ["-N", "/proc/self/ns/mnt"], ["-r"],
  ])
  func whatMountHandsOnIsUnderstood(_ options: [String]) throws {
    let result = try mount(options)
    #expect(result.status == 0, "\(result.summary)")
    #expect(VhdfsMount.isMountPoint(point))
    #expect(fileExists("\(point)/a.vhdx/disk"))
    let end = try unmount(["-v", "-t", "fuse.vhdfs"])
    #expect(end.status == 0, "\(end.summary)")
    #expect(!VhdfsMount.isMountPoint(point))
  }

  @Test func aPretendedMountDoesNothing() throws {
    #expect(try mount(["-f", "-o", "rw"]).status == 0)
    #expect(!VhdfsMount.isMountPoint(point))
  }

  @Test func failuresAre32AndWrongCalls1() throws {
    let missing = try mount([], directory.file("none"))
    #expect(missing.status == 32, "\(missing.summary)")
    #expect(missing.errors.hasPrefix("vhdfs: "))
    #expect(try mount(["-o", "nonsense"]).status == 32)
    #expect(try run([directory.file("mount.vhdfs"), images]).status == 1)
    #expect(try unmount().status == 32)
    #expect(!VhdfsMount.isMountPoint(point))
  }

  @Test func aMountInUseIsNotUnmounted() throws {
    #expect(try mount([]).status == 0)
    do {
      let disk = try OpenFile("\(point)/a.vhdx/disk")
      let result = try unmount()
      #expect(result.status == 32, "\(result.summary)")
      #expect(disk.size == 64 << 20)
    }
    #expect(eventually(within: 10) { (try? unmount().status) == 0 })
  }
}
