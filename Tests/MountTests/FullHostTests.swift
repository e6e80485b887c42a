import Glibc
import TestSupport
import Testing

extension MountTests {
  /// The host's file system is full: the writer is told, nothing that was flushed is damaged, and writing goes on in the
  /// same mount once there is room.
  @Suite(.requiresLoopDevice, .requiresPrograms("mkfs.ext4", "qemu-img"))
  struct FullHostTests {
    enum Host: String, CaseIterable, Sendable { case tmpfs, ext4 }

    static let kinds = [
      ImageKind(format: "vhdx", kind: .dynamic, blockSize: "1M"),
      ImageKind(format: "vhdx", kind: .differencing, blockSize: "1M"),
      ImageKind(format: "vhd", kind: .dynamic, blockSize: "512K"),
    ]

    @Test(arguments: kinds, Host.allCases)
    func writerIsToldAndGoesOn(kind: ImageKind, host: Host) throws {
      let workspace = try Workspace()
      let room = try SmallHost(host, workspace)
      let size = 128 << 20
      let name = try workspace.make(kind, size: "128M")
      // What is removed when the host is to have room again.
      let ballast = workspace.image("ballast")
      try runChecked(["fallocate", "-l", "12M", ballast])
      let mount = try workspace.mount()
      var model = DiskModel(size: size)
      let step = 256 << 10
      var position = 0
      // What was written since the last flush that succeeded.
      var unflushed: [Int] = []
      var refusal: Int32 = 0
      var flushFailed = false
      let file = try OpenFile(mount.file(name), O_RDWR)
      while position + step <= size, refusal == 0 {
        let bytes = pattern(seed: UInt64(position), count: step)
        if pwrite(file.descriptor, bytes, step, off_t(position)) == step {
          unflushed.append(position)
          if unflushed.count == 8 {
            if fsync(file.descriptor) == 0 {
              for place in unflushed { model.write(pattern(seed: UInt64(place), count: step), at: place) }
              unflushed = []
            } else {
              refusal = errno
              flushFailed = true
            }
          }
        } else {
          refusal = errno
        }
        position += step
      }
      #expect(refusal == ENOSPC, "\(String(cString: strerror(refusal)))")
      #expect(mount.server.isRunning)
      try expectFlushed(model, position, file, step, unflushed)

      unlink(ballast)
      let place = 100 << 20
      let bytes = pattern(seed: 99, count: 2 << 20)
      if pwrite(file.descriptor, bytes, bytes.count, off_t(place)) == bytes.count, fsync(file.descriptor) == 0
      {
        // All that returned before is durable with it.
        for place in unflushed { model.write(pattern(seed: UInt64(place), count: step), at: place) }
        unflushed = []
        model.write(bytes, at: place)
      } else {
        // Only after a flush that failed must the image say that nothing is sure any more.
        #expect(flushFailed, "room did not help: \(String(cString: strerror(errno)))")
        #expect(try mount.fact("read_only", of: name) == "1")
        #expect(try mount.fact("reason", of: name) != nil)
      }
      try expectFlushed(model, position, file, step, unflushed)
      _ = consume file
      let ended = try run(["umount", mount.path])
      #expect(ended.succeeded, "\(ended.summary)")
      mount.server.wait(timeout: 60)

      if kind.isKnownToQEMU && kind.isVHDX {
        let check = try run(["qemu-img", "check", "-f", "vhdx", workspace.image(name)])
        #expect(check.succeeded, "\(check.summary)")
      }
      if kind.isKnownToQEMU && !flushFailed {
        let raw = workspace.root.file("raw")
        try runChecked([
          "qemu-img", "convert", "-f", kind.qemuFormat, "-O", "raw", workspace.image(name), raw,
        ])
        try expectFlushed(model, position, try OpenFile(raw), step, unflushed)
      }
      let again = try workspace.mount("-r")
      try expectFlushed(model, position, try OpenFile(again.file(name)), step, unflushed)
      try again.unmount()
      try room.unmount()
    }

    /// A file system on a loop device over the raw file meets the full host: what it had flushed is whole, and it can be
    /// mended and used when there is room.
    @Test(.requiresPrograms("e2fsck"), arguments: kinds.prefix(2))
    func fileSystemInside(kind: ImageKind) throws {
      let workspace = try Workspace()
      let room = try SmallHost(.tmpfs, workspace)
      let name = try workspace.make(kind, size: "128M")
      let ballast = workspace.image("ballast")
      try runChecked(["fallocate", "-l", "12M", ballast])
      let mount = try workspace.mount()
      let device = try LoopDevice(mount.file(name), ["--direct-io=on"])
      try runChecked(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", device.path])
      let inside = try workspace.root.directory("inside")
      let fileSystem = try MountedFileSystem(device.path, at: inside, ["-o", "errors=remount-ro"])
      var kept: [String: UInt64] = [:]
      var failed = false
      for number in 0..<200 where !failed {
        let path = "\(inside)/file\(number)"
        do {
          let file = try OpenFile(path, O_WRONLY | O_CREAT)
          try file.write(pattern(seed: UInt64(number), count: 1 << 20), at: 0)
          try file.sync()
          try OpenFile(inside).sync()
          kept[path] = UInt64(number)
        } catch {
          failed = true
        }
      }
      #expect(failed && !kept.isEmpty && mount.server.isRunning)
      unlink(ballast)
      try fileSystem.unmount()
      let mended = try run(["e2fsck", "-f", "-y", device.path], timeout: 120)
      #expect(mended.status <= 1, "\(mended.summary)")
      let second = try MountedFileSystem(device.path, at: inside)
      for (path, seed) in kept {
        #expect(
          try OpenFile(path).read(at: 0, count: 1 << 20) == pattern(seed: seed, count: 1 << 20), "\(path)")
      }
      let file = try OpenFile("\(inside)/after", O_WRONLY | O_CREAT)
      try file.write(pattern(seed: 7, count: 1 << 20), at: 0)
      try file.sync()
      _ = consume file
      try second.unmount()
      let check = try run(["e2fsck", "-f", "-n", device.path], timeout: 120)
      #expect(check.succeeded, "\(check.summary)")
      try device.detach()
      try mount.unmount()
      try Oracles.expectCleanLog(workspace.image(name))
      try room.unmount()
    }

    /// All that was flushed reads back; what was written since may be there or not; what never was reads as zero.
    private func expectFlushed(
      _ model: DiskModel, _ end: Int, _ file: OpenFile, _ step: Int, _ unflushed: [Int]
    ) throws {
      for place in stride(from: 0, to: model.size, by: step) where !unflushed.contains(place) {
        // The write that was refused may have got half way.
        if place == end - step { continue }
        let bytes = try file.read(at: UInt64(place), count: step)
        let difference = model.firstDifference(bytes, at: place)
        if bytes.count != step || difference != nil {
          Issue.record("at \(difference ?? place): not what was flushed")
          return
        }
      }
    }
  }
}

/// A file system with little room, mounted on a workspace's directory of images.
final class SmallHost {
  private let path: String
  private var device: LoopDevice?
  private var isMounted = true

  init(_ host: MountTests.FullHostTests.Host, _ workspace: Workspace) throws {
    path = workspace.images
    switch host {
    case .tmpfs: try runChecked(["mount", "-t", "tmpfs", "-o", "size=48m", "none", path])
    case .ext4:
      let file = workspace.root.file("host")
      try runChecked(["truncate", "-s", "64M", file])
      let device = try LoopDevice(file)
      self.device = device
      try runChecked(["mkfs.ext4", "-q", "-F", "-m", "0", device.path])
      try runChecked(["mount", device.path, path])
    }
  }

  deinit { try? unmount() }

  func unmount() throws {
    guard isMounted else { return }
    isMounted = false
    let result = try run(["umount", path])
    if !result.succeeded { _ = try? run(["umount", "-l", path]) }
    try device?.detach()
    guard result.succeeded else { throw TestFailure(result.summary) }
  }
}
