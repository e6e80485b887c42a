import Glibc
import TestSupport
import Testing

extension MountTests {
  /// examples/incremental-backup.sh takes a full copy where it cannot be known what changed, and no copy at all where
  /// anything else goes wrong.
  @Suite(.requiresPrograms("bash", "flock", "sha256sum", "qemu-io"))
  struct BackupRefusalTests {
    /// What makes the next copy a full one.
    enum Cause: String, CaseIterable, Sendable {
      case reset, switchedOff, pointDropped, copyLost, answerCutOff
    }

    @Test(arguments: Cause.allCases)
    func fullCopyWhereItIsNotKnownWhatChanged(cause: Cause) throws {
      let disk = try IdleDisk()
      try disk.backUp(expecting: "full")
      try disk.write(at: 5 << 20)
      try disk.backUp(expecting: "increment")
      try disk.write(at: 9 << 20)
      let control = "\(disk.image)/control/tracking"
      switch cause {
      case .reset: try writeFile(control, Array("reset\n".utf8))
      case .switchedOff: try writeFile(control, Array("off\n".utf8))
      case .pointDropped:
        for name in try names(in: "\(disk.image)/points") {
          #expect(rmdir("\(disk.image)/points/\(name)") == 0)
        }
      case .copyLost: try runChecked(["rm", "-r", "\(disk.store)/000002"])
      case .answerCutOff:
        try disk.replaceCat(
          "if [[ $1 == *'changes?limit='* && ! -e '\(disk.store)/cut' ]]; then touch '\(disk.store)/cut'; "
            + "real \"$1\" | head -n -1; else real \"$@\"; fi")
      }
      try disk.backUp(expecting: "full")
      try disk.write(at: 13 << 20)
      try disk.backUp(expecting: "increment")
      #expect(try names(in: "\(disk.image)/points").count == 1)
      try disk.mount?.unmount()
    }

    /// Another program wrote the image; the record is cut: each copy is full, until a new record is asked for.
    @Test(arguments: [true, false])
    func recordThatDoesNotCount(isForeign: Bool) throws {
      let disk = try IdleDisk()
      try disk.backUp(expecting: "full")
      try disk.write(at: 5 << 20)
      try disk.mount?.unmount()
      disk.mount = nil
      if isForeign {
        try runChecked([
          "qemu-io", "-f", "vhdx", "-c", "write -P 7 1M 64k", disk.workspace.image("disk.vhdx"),
        ])
      } else {
        try runChecked(["truncate", "-s", "6000", disk.workspace.image("disk.vhdx.tracking")])
      }
      disk.mount = try disk.workspace.mount()
      try disk.backUp(expecting: "full")
      try disk.backUp(expecting: "full")
      try disk.backUp(expecting: "full", "--reset")
      try disk.write(at: 9 << 20)
      try disk.backUp(expecting: "increment")
      try disk.mount?.unmount()
    }

    @Test func otherFailuresMakeNoCopy() throws {
      let disk = try IdleDisk()
      try disk.backUp(expecting: "full")
      try disk.write(at: 5 << 20)
      try disk.replaceCat(
        "[[ $1 != *'changes?limit='* ]] || { echo \"cat: '$1': Input/output error\" >&2; exit 1; }; real \"$@\""
      )
      let failed = try disk.script(["backup", disk.image, disk.store])
      #expect(failed.status == 1 && failed.errors.contains("Input/output error"), "\(failed.summary)")
      try disk.replaceCat("real \"$@\"")
      try disk.backUp(expecting: "increment")
      try disk.mount?.unmount()
    }

    /// A disk that is written while it is copied gives no copy; a copy that was damaged gives no disk.
    @Test func whatIsNotWholeIsNotTaken() throws {
      let disk = try IdleDisk()
      try disk.backUp(expecting: "full")
      let writer = try RunningProgram([
        "sh", "-c", "while :; do head -c 4096 /dev/urandom | dd of=\"$1\" conv=notrunc status=none; done",
        "sh",
        "\(disk.image)/disk",
      ])
      // For longer than the writer needs for its next turn.
      try disk.replaceCat("real \"$@\"; [[ $1 != */control/map ]] || sleep 1")
      let torn = try disk.script(["backup", disk.image, disk.store])
      kill(-writer.pid, SIGKILL)
      writer.wait(timeout: 10)
      #expect(torn.status == 1 && torn.errors.contains("written while it was copied"), "\(torn.summary)")
      try disk.backUp(expecting: "increment")

      let data = "\(disk.store)/000001/data"
      let byte = try OpenFile(data).read(at: 70_000, count: 1)
      try OpenFile(data, O_WRONLY).write([byte[0] ^ 1], at: 70_000)
      for words in [["verify", disk.store], ["restore", disk.store, disk.workspace.root.file("restored")]] {
        let refused = try disk.script(words)
        #expect(refused.status == 1 && refused.errors.contains("000001 is damaged"), "\(refused.summary)")
      }
      #expect(!fileExists(disk.workspace.root.file("restored")))
      try disk.mount?.unmount()
    }
  }
}

/// A tracked disk of 16 MiB that nobody uses, and its copies.
private final class IdleDisk {
  let workspace: Workspace
  var mount: VhdfsMount?
  let image: String
  let store: String
  private let programs: String
  private var seed: UInt64 = 1

  init() throws {
    workspace = try Workspace()
    try workspace.create("disk.vhdx", "--size", "16M", "--block-size", "1M")
    mount = try workspace.mount()
    image = "\(workspace.mountPoint)/disk.vhdx"
    store = workspace.root.file("copies")
    programs = try workspace.root.directory("programs")
    try write(at: 1 << 20)
  }

  func write(at offset: UInt64) throws {
    seed += 1
    let file = try OpenFile("\(image)/disk", O_RDWR)
    try file.write(pattern(seed: seed, count: 300_000), at: offset)
    try file.sync()
  }

  /// Puts a program before cat; `real` in it is the system's.
  func replaceCat(_ text: String) throws {
    let path = "\(programs)/cat"
    try writeFile(path, Array("#!/bin/bash\nreal() { PATH=${PATH#*:} command cat \"$@\"; }\n\(text)\n".utf8))
    guard chmod(path, 0o755) == 0 else { throw TestFailure(path) }
  }

  func script(_ words: [String]) throws -> ProgramResult {
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/sbin:/usr/bin:/sbin:/bin"
    return try run(
      ["bash", "\(DiskInUse.scripts)/incremental-backup.sh"] + words, timeout: 120,
      environment: ["PATH": "\(programs):\(path)"])
  }

  /// Makes a copy of a kind; what it gives back is the disk.
  func backUp(expecting kind: String, _ options: String...) throws {
    let result = try script(["backup"] + options + [image, store])
    #expect(result.succeeded && result.output.contains(": \(kind), "), "\(kind): \(result.summary)")
    let file = workspace.root.file("restored")
    defer { unlink(file) }
    let restored = try script(["restore", store, file])
    #expect(restored.succeeded, "\(restored.summary)")
    let comparison = try run(["cmp", file, "\(image)/disk"])
    #expect(comparison.succeeded, "\(kind): \(comparison.summary)")
  }
}
