import Foundation
import Glibc
import TestSupport
import Testing

/// `vhdfs compact`, judged by QEMU and by a script that reads block tables by itself.
@Suite("compact")
struct CompactTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  struct Table {
    var blocks: [Int]
    /// Bytes of the file that are neither its structures nor blocks.
    var unused: Int
  }

  /// What the image's own block table says, by a reader that is not ours.
  static func table(of path: String) throws -> Table {
    let lines = try runChecked(["python3", Project.file("Tests/Oracles/block_table.py"), path])
      .split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    return Table(blocks: lines[0].dropFirst().compactMap { Int($0) }, unused: Int(lines[1][1]) ?? -1)
  }

  static func facts(_ output: String) -> [String: String] {
    Dictionary(
      output.split(separator: "\n").map { line in
        let parts = line.split(separator: " ", maxSplits: 1).map(String.init)
        return (parts[0], parts.count > 1 ? parts[1] : "")
      }, uniquingKeysWith: { first, _ in first })
  }

  /// Blocks with data here and there, some of them zeros again, written by QEMU.
  private func made(_ format: String, _ path: String, _ options: String = "") throws {
    try runChecked(
      ["qemu-img", "create", "-q", "-f", format] + (options.isEmpty ? [] : ["-o", options]) + [path, "128M"])
    var commands: [String] = []
    for (index, place) in CompactTests.places.enumerated() {
      commands += ["-c", "write -q -P \(index + 1) \(place)k 700k"]
    }
    for place in CompactTests.zeroed { commands += ["-c", "write -q -P 0 \(place)k 700k"] }
    try runChecked(["qemu-io", "-f", format] + commands + [path])
  }

  private static let places = [100, 4096, 9000, 20_000, 33_000, 50_000, 64_000, 90_000, 101_000, 130_000]
  private static let zeroed = [4096, 33_000, 64_000, 101_000]

  @Test(
    "zero blocks go, others stay, and nothing else is in the file",
    .requiresPrograms("qemu-img", "qemu-io", "python3"),
    arguments: [
      ("vhdx", "block_size=1M"), ("vhdx", "block_size=2M"), ("vhdx", "block_size=8M"),
      ("vpc", "force_size=on"),
    ])
  func prezeroed(_ format: String, _ options: String) throws {
    let path = directory.file(format == "vhdx" ? "a.vhdx" : "a.vhd")
    try made(format, path, options)
    let (before, after) = (directory.file("before"), directory.file("after"))
    try runChecked(["qemu-img", "convert", "-f", format, "-O", "raw", path, before])
    let untouched = try digest(path)
    let planned = CompactTests.facts(
      try Vhdfs.runChecked(["compact", "--mode", "prezeroed", "--dry-run", path]))
    #expect(try digest(path) == untouched, "a dry run changes nothing")
    let done = CompactTests.facts(try Vhdfs.runChecked(["compact", "--mode", "4", path]))
    for key in ["blocks_freed", "file_size_after"] { #expect(planned[key] == done[key], "\(key)") }
    #expect(done["contents_changed"] == "0")
    try runChecked(["qemu-img", "convert", "-f", format, "-O", "raw", path, after])
    #expect(try digest(before) == digest(after))
    if format == "vhdx" { try runChecked(["qemu-img", "check", "-q", path]) }
    // The blocks of the disk that hold other bytes than zeros, by the raw copy.
    let blockSize = try #require(try blockSize(path))
    let table = try CompactTests.table(of: path)
    let expected = try blocksWithData(before, blockSize)
    #expect(table.blocks == expected)
    #expect(table.unused == 0)
    let size = try sizes(of: path).size
    #expect(done["file_size_after"] == String(size))
    // Again: nothing is left to do, and not a byte changes.
    let compacted = try digest(path)
    #expect(
      CompactTests.facts(try Vhdfs.runChecked(["compact", "--mode", "prezeroed", path]))["blocks_moved"]
        == "0")
    #expect(try digest(path) == compacted)
  }

  /// What nothing is written to is pretrimmed's, what is zero is not.
  @Test(
    "pretrimmed moves blocks into holes and looks at no bytes",
    .requiresPrograms("qemu-img", "qemu-io", "python3"))
  func pretrimmed() throws {
    let path = directory.file("a.vhdx")
    try made("vhdx", path, "block_size=1M")
    let before = try CompactTests.table(of: path).blocks
    try Vhdfs.runChecked(["compact", "--mode", "pretrimmed", path])
    let after = try CompactTests.table(of: path)
    #expect(after.blocks == before && after.unused == 0)
    try runChecked(["qemu-img", "check", "-q", path])
  }

  @Test(
    "what a file system does not use goes, what it uses stays", .requiresLoopDevice,
    .requiresPrograms("qemu-img", "mkfs.ext4", "e2fsck", "python3"), arguments: ["vhdx", "vpc"])
  func fileSystem(_ format: String) throws {
    let raw = directory.file("raw")
    try runChecked([
      "sh", "-ec",
      """
      truncate -s 192M "$1"; mkfs.ext4 -q -F "$1"; mkdir "$2"; mount -o loop "$1" "$2"
      trap 'umount "$2"' EXIT
      for i in 1 2 3 4 5 6 7 8; do head -c 9000000 /dev/urandom >"$2/f$i"; done; sync
      rm "$2"/f[1-6]; (cd "$2" && sha256sum f*) >"$3"
      """, "sh", raw, directory.file("mounted"), directory.file("sums"),
    ])
    let path = directory.file(format == "vhdx" ? "a.vhdx" : "a.vhd")
    let options = format == "vhdx" ? "subformat=dynamic,block_size=1M" : "subformat=dynamic,force_size=on"
    try runChecked(["qemu-img", "convert", "-f", "raw", "-O", format, "-o", options, raw, path])
    let done = try Vhdfs.runChecked(["compact", "--mode", "full", path])
    #expect(done.contains("\npartition 0 ext4 1 "), "\(done)")
    let facts = CompactTests.facts(done)
    #expect(Int(facts["blocks_freed"] ?? "") ?? 0 > 20, "\(done)")
    #expect(facts["contents_changed"] == "1", "what was removed held other bytes than zeros")
    let after = directory.file("after")
    try runChecked(["qemu-img", "convert", "-f", format, "-O", "raw", path, after])
    try runChecked(["e2fsck", "-fn", after])
    try runChecked([
      "sh", "-ec",
      "mount -o loop,ro \"$1\" \"$2\"; trap 'umount \"$2\"' EXIT; cd \"$2\" && sha256sum --quiet -c \"$3\"; cd /",
      "sh", after, directory.file("mounted"), directory.file("sums"),
    ])
    // The blocks that hold a used cluster with other bytes than zeros, by dumpe2fs and the raw disk.
    let blockSize = try #require(try blockSize(path))
    let expected = try runChecked([
      "python3", Project.file("Tests/Oracles/ext_blocks.py"), raw, String(blockSize),
    ])
    .split(separator: " ").compactMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    let table = try CompactTests.table(of: path)
    #expect(table.blocks == expected && table.unused == 0, "\(table.unused)")
  }

  @Test("words that are not understood, and images that cannot be compacted: the image is untouched")
  func refusals() throws {
    let (disk, fixed) = (directory.file("a.vhdx"), directory.file("fixed.vhd"))
    let (parent, child) = (directory.file("parent.vhdx"), directory.file("child.vhdx"))
    let saved = directory.file("saved.vhd")
    try Vhdfs.create(disk, ["--size", "16M"])
    try Vhdfs.create(fixed, ["--size", "4M", "--type", "fixed"])
    try Vhdfs.create(parent, ["--size", "16M"])
    try Vhdfs.create(child, ["--parent", parent])
    try Vhdfs.create(saved, ["--size", "16M"])
    try markSaved(saved)
    let cases: [(path: String, words: [String], status: Int32, sentence: String)] = [
      (disk, ["--mode", "fast"], 15, "\"fast\" is no mode"),
      (disk, ["--mode", "5"], 15, "\"5\" is no mode"),
      (disk, ["--mode", "Full"], 15, "is no mode"),
      (fixed, [], 12, "fixed VHD"),
      (saved, [], 17, "saved state"),
      (parent, ["--mode", "full"], 17, "child.vhdx"),
      (parent, [], 17, "child.vhdx"),
      (parent, ["--mode", "retrim"], 17, "child.vhdx"),
      (directory.file("none.vhdx"), [], 21, "none.vhdx"),
    ]
    for item in cases {
      let before = fileExists(item.path) ? try digest(item.path) : ""
      let result = try Vhdfs.run(["compact"] + item.words + [item.path])
      #expect(result.status == item.status && result.errors.contains(item.sentence), "\(result.summary)")
      #expect(result.output.isEmpty)
      if !before.isEmpty { #expect(try digest(item.path) == before, "\(item)") }
    }
    // The contents stay as they are: allowed, and the child goes on.
    try Vhdfs.runChecked(["compact", "--mode", "prezeroed", parent])
    try Vhdfs.runChecked(["compact", "--mode", "pretrimmed", parent])
    #expect(try Vhdfs.runChecked(["map", child]).hasSuffix("# processed 16777216\n"))
  }

  // MARK: - Helpers

  private func digest(_ path: String) throws -> String {
    String(try runChecked(["sha256sum", path]).prefix(64))
  }

  private func blockSize(_ path: String) throws -> Int? {
    CompactTests.facts(try Vhdfs.runChecked(["info", path]))["block_size"].flatMap { Int($0) }
  }

  private func blocksWithData(_ raw: String, _ blockSize: Int) throws -> [Int] {
    let file = try OpenFile(raw)
    let size = Int(file.size)
    var blocks: [Int] = []
    for start in stride(from: 0, to: size, by: blockSize) {
      let bytes = try file.read(at: UInt64(start), count: min(blockSize, size - start))
      if bytes.contains(where: { $0 != 0 }) { blocks.append(start / blockSize) }
    }
    return blocks
  }

  /// Sets the footer's saved-state byte, in both copies, with the checksum that belongs to it.
  private func markSaved(_ path: String) throws {
    try runChecked([
      "python3", "-c",
      """
      import struct, sys
      f = open(sys.argv[1], 'r+b'); f.seek(-512, 2); footer = bytearray(f.read(512))
      footer[84] = 1; footer[64:68] = bytes(4)
      footer[64:68] = struct.pack('>I', ~sum(footer) & 0xFFFFFFFF)
      f.seek(-512, 2); f.write(footer); f.seek(0); f.write(footer)
      """, path,
    ])
  }
}
