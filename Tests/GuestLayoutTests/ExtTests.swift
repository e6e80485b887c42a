import TestSupport
import Testing

@testable import GuestLayout

/// Ext file systems made by mke2fs and filled by debugfs, against the lists of free blocks of dumpe2fs; then everything
/// that is called free is overwritten, and e2fsck and the files must not notice.
@Suite(.requiresPrograms("mkfs.ext4", "dumpe2fs", "debugfs", "e2fsck"))
struct ExtTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var size: String
    var options: [String]
    var kind = GuestFileSystem.ext4
    var testDescription: String { "\(size) \(options.joined(separator: " "))" }
  }

  static let variants: [Variant] = [
    Variant(size: "8M", options: ["-t", "ext2", "-b", "1024"], kind: .ext2),
    Variant(size: "4219904", options: ["-t", "ext2", "-b", "1024"], kind: .ext2),
    Variant(size: "64M", options: ["-t", "ext2", "-b", "4096", "-r", "0"], kind: .ext2),
    Variant(size: "300M", options: ["-t", "ext3", "-b", "2048"], kind: .ext3),
    Variant(
      size: "100M", options: ["-t", "ext3", "-b", "1024", "-O", "^sparse_super,^resize_inode"], kind: .ext3),
    Variant(size: "300M", options: []),
    Variant(size: "150M", options: ["-b", "1024"]),
    Variant(size: "700M", options: ["-O", "^flex_bg"]),
    Variant(size: "700M", options: ["-O", "^64bit"]),
    Variant(size: "700M", options: ["-O", "^metadata_csum"]),
    Variant(size: "700M", options: ["-O", "^metadata_csum,uninit_bg,^64bit"]),
    Variant(size: "120M", options: ["-b", "1024", "-O", "^metadata_csum,uninit_bg,^flex_bg"]),
    Variant(size: "700M", options: ["-O", "meta_bg,^resize_inode"]),
    Variant(size: "700M", options: ["-b", "1024", "-O", "meta_bg,^resize_inode,^flex_bg"]),
    Variant(
      size: "400M", options: ["-b", "1024", "-O", "meta_bg,^resize_inode,^flex_bg,^metadata_csum,uninit_bg"]),
    Variant(size: "700M", options: ["-O", "sparse_super2"]),
    Variant(size: "700M", options: ["-O", "sparse_super2,^resize_inode", "-E", "num_backup_sb=1"]),
    Variant(size: "700M", options: ["-O", "^has_journal"]),
    Variant(size: "2G", options: ["-O", "bigalloc", "-C", "65536"]),
    Variant(size: "701M", options: ["-b", "1024", "-O", "bigalloc", "-C", "8192"]),
    Variant(size: "1G", options: ["-O", "bigalloc,^metadata_csum,uninit_bg", "-C", "16384"]),
    Variant(size: "3G", options: ["-b", "65536"]),
    Variant(size: "40M", options: ["-b", "1024", "-g", "512"]),
    Variant(size: "5G", options: ["-G", "64", "-g", "4096"]),
    Variant(size: "300M", options: ["-O", "mmp,project,inline_data,casefold,encrypt,verity,ea_inode"]),
    Variant(size: "300M", options: ["-O", "metadata_csum_seed,large_dir,stable_inodes", "-I", "512"]),
    Variant(size: "100G", options: []),
    Variant(size: "134152193", options: ["-b", "4096"]),
    Variant(size: "135M", options: ["-b", "1024", "-O", "^resize_inode"]),
  ]

  @Test(arguments: variants)
  func freeIsWhatDumpe2fsCallsFree(_ variant: Variant) throws {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: variant.size)
    let type = variant.options.contains("-t") ? [] : ["-t", "ext4"]
    try runChecked(["mke2fs", "-q", "-F"] + type + variant.options + [path])
    #expect(try SurveyedDisk(path).free == freeBlocks(path), "fresh")
    let files = try fill(path, directory)
    let disk = try SurveyedDisk(path)
    let volume = try disk.volume
    #expect(volume.fileSystem == variant.kind)
    #expect(volume.freeSpace.obstacle == nil, "\(String(describing: volume.freeSpace.obstacle))")
    #expect(volume.notes.isEmpty)
    #expect(try disk.free == freeBlocks(path))
    try disk.overwriteFree()
    let check = try run(["e2fsck", "-fn", path])
    #expect(check.status == 0, "\(check.summary)")
    try expect(files, in: path, directory)
    #expect(try SurveyedDisk(path).free == disk.free)
  }

  /// Puts files into it, of which some are deleted again; the names and sources of those that stay.
  private func fill(_ path: String, _ directory: TemporaryDirectory) throws -> [(String, String)] {
    var script = "mkdir d\n"
    var stay: [(String, String)] = []
    for (index, size) in [100, 5_000, 70_000, 300_000, 40_000, 9_000, 1_000_000, 2_000].enumerated() {
      let source = directory.file("source\(index)")
      try writeFile(source, pattern(seed: UInt64(index + 1), count: size))
      script += "write \(source) file\(index)\n"
      if index % 3 != 1 { stay.append(("file\(index)", source)) }
    }
    for index in [1, 4, 7] { script += "rm file\(index)\n" }
    try writeFile(directory.file("script"), Array(script.utf8))
    try runChecked(["debugfs", "-w", "-f", directory.file("script"), path])
    return stay
  }

  private func expect(_ files: [(String, String)], in path: String, _ directory: TemporaryDirectory) throws {
    let script = files.map { "dump \($0.0) \(directory.file($0.0))\n" }.joined()
    try writeFile(directory.file("script"), Array(script.utf8))
    try runChecked(["debugfs", "-f", directory.file("script"), path])
    for (name, source) in files {
      let (wanted, found) = (try OpenFile(source), try OpenFile(directory.file(name)))
      #expect(same(try found.read(at: 0, count: 2 << 20), try wanted.read(at: 0, count: 2 << 20)), "\(name)")
    }
  }
}

/// What dumpe2fs calls free, as merged ranges of bytes.
func freeBlocks(_ path: String) throws -> [Range<UInt64>] {
  let text = try runChecked(["dumpe2fs", path])
  let lines = text.split(separator: "\n")
  func number(_ key: String) -> UInt64 {
    lines.first { $0.hasPrefix(key) }.flatMap { UInt64($0.dropFirst(key.count).filter(\.isNumber)) } ?? 0
  }
  let blockSize = number("Block size:")
  let end = number("Block count:") * blockSize
  // With clusters it names the first block of each.
  let step = max(number("Cluster size:"), blockSize)
  var ranges: [Range<UInt64>] = []
  // Those of a group stand indented; the sum for all does not.
  for line in lines where line.hasPrefix("  Free blocks: ") {
    for part in line.dropFirst(15).split(separator: ",") {
      let ends = part.split(separator: "-").compactMap { UInt64($0.filter(\.isNumber)) }
      guard let first = ends.first, let last = ends.last else { continue }
      let range = first * blockSize..<min(last * blockSize + step, end)
      if let before = ranges.last, before.upperBound == range.lowerBound {
        ranges[ranges.count - 1] = before.lowerBound..<range.upperBound
      } else {
        ranges.append(range)
      }
    }
  }
  return ranges
}
