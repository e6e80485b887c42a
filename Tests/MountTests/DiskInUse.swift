import Glibc
import TestSupport
import Testing

/// An ext4, mounted through a loop device over a tracked disk, and the copies that examples/incremental-backup.sh makes of
/// it.
///
/// The script finds programs of ours before those of the system: `fsfreeze` keeps what the disk is just before it thaws.
final class DiskInUse {
  static let scripts = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/examples"

  let workspace: Workspace
  let mount: VhdfsMount
  /// The image's directory in the mount.
  let image: String
  /// The directory of copies.
  let store: String
  let programs: String
  private let device: LoopDevice
  private let inside: MountedFileSystem
  private var seed: UInt64 = 1

  init(size: String) throws {
    workspace = try Workspace()
    try workspace.create("disk.vhdx", "--size", size, "--block-size", "1M")
    mount = try workspace.mount("--track")
    image = "\(mount.path)/disk.vhdx"
    store = workspace.root.file("copies")
    programs = try workspace.root.directory("programs")
    device = try LoopDevice("\(image)/disk", ["--direct-io=on"])
    try runChecked(["mkfs.ext4", "-q", device.path], timeout: 120)
    inside = try MountedFileSystem(device.path, at: workspace.root.directory("inside"))
    try restorePrograms()
  }

  /// The place of a file on the disk.
  func path(_ name: String) -> String { "\(inside.path)/\(name)" }

  func write(_ name: String, bytes: Int) throws {
    seed += 1
    let file = try OpenFile(path(name), O_WRONLY | O_CREAT | O_TRUNC)
    try file.write(pattern(seed: seed, count: bytes), at: 0)
    try file.sync()
  }

  /// Somebody who changes files until `end` is called.
  func writeAllTheTime() throws -> RunningProgram {
    try RunningProgram([
      "sh", "-c",
      "while :; do head -c 30000 /dev/urandom >>\"$1\"; truncate -s '<2M' \"$1\"; sync \"$1\"; done",
      "sh", path("busy"),
    ])
  }

  func end(_ writer: RunningProgram) {
    kill(-writer.pid, SIGKILL)
    writer.wait(timeout: 30)
  }

  var backupWords: [String] { ["backup", "--freeze", inside.path, image, store] }

  func words(_ words: [String]) -> [String] {
    ["bash", "\(DiskInUse.scripts)/incremental-backup.sh"] + words
  }

  var environment: [String: String] {
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/sbin:/usr/bin:/sbin:/bin"
    return ["PATH": "\(programs):\(path)"]
  }

  /// Runs the script.
  func script(_ words: [String], _ more: [String: String] = [:]) throws -> ProgramResult {
    try run(self.words(words), timeout: 120, environment: environment.merging(more) { $1 })
  }

  /// Puts a program before that of the system; `real` in it is the system's.
  func replace(_ program: String, by text: String) throws {
    let path = "\(programs)/\(program)"
    try writeFile(
      path, Array("#!/bin/bash\nreal() { PATH=${PATH#*:} command \(program) \"$@\"; }\n\(text)\n".utf8))
    guard chmod(path, 0o755) == 0 else { throw TestFailure(path) }
  }

  func restorePrograms() throws {
    for name in try names(in: programs) { unlink("\(programs)/\(name)") }
    try replace(
      "fsfreeze",
      by: """
        if [ "$1" = --unfreeze ] && [ -n "${FROZEN_COPY:-}" ]; then cp --sparse=always '\(image)/disk' "$FROZEN_COPY"; fi
        real "$@"
        """)
  }

  /// Makes the next copy, and keeps what the disk was while it was frozen; returns the copy's number.
  @discardableResult
  func backUp(expecting kind: String? = nil) throws -> Int {
    let frozen = workspace.root.file("frozen")
    let result = try script(backupWords, ["FROZEN_COPY": frozen])
    guard result.succeeded, let last = result.output.split(separator: "\n").last, last.hasPrefix("copy "),
      let number = Int(last.dropFirst(5).prefix { $0.isNumber })
    else { throw TestFailure(result.summary) }
    if let kind { #expect(last.contains(": \(kind), "), "\(result.summary)") }
    guard rename(frozen, self.frozen(number)) == 0 else {
      throw TestFailure("nothing was frozen: \(result.summary)")
    }
    return number
  }

  /// What the disk was when a copy was made.
  private func frozen(_ copy: Int) -> String { workspace.root.file("frozen-\(copy)") }

  /// A copy gives the disk as it was when it was frozen.
  func expectRestored(_ copy: Int, _ comment: String = "") throws {
    let file = workspace.root.file("restored")
    defer { unlink(file) }
    let result = try script(["restore", store, file, "\(copy)"])
    #expect(result.succeeded, "\(comment) \(result.summary)")
    let comparison = try run(["cmp", file, frozen(copy)])
    #expect(comparison.succeeded, "\(comment) copy \(copy): \(comparison.summary)")
  }

  /// After a run that was killed: the file system is thawed, the next run makes a copy that is right, and nothing else is
  /// left of it.
  func expectRecovery(_ comment: String, isThawed: Bool = true) throws {
    // While it is frozen this waits.
    if isThawed { try write("after \(comment)", bytes: 70_000) }
    let copy = try backUp()
    try expectRestored(copy, comment)
    unlink(frozen(copy))
    #expect(try names(in: "\(image)/points").count == 1, "\(comment)")
    #expect(try names(in: store).filter { !$0.allSatisfy(\.isNumber) } == ["lock", "set"], "\(comment)")
    let verified = try script(["verify", store])
    #expect(verified.succeeded, "\(comment): \(verified.summary)")
  }

  /// The bytes that a copy holds.
  func dataSize(_ copy: Int) throws -> UInt64 {
    let number = "\(1_000_000 + copy)".dropFirst()
    return try sizes(of: "\(store)/\(number)/data").size
  }

  func close() throws {
    try inside.unmount()
    try device.detach()
    try mount.unmount()
  }
}
