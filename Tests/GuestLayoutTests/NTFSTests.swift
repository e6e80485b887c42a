import TestSupport
import Testing

@testable import GuestLayout

/// NTFS volumes made by mkntfs and filled through ntfs-3g, against the bits of $Bitmap as ntfscat reads them; then everything
/// that is called free is overwritten, and ntfsfix and the files must not notice.
@Suite(
  .requiresMount, .requiresPrograms("mkntfs", "ntfscat", "ntfsinfo", "ntfsfix", "ntfs-3g", "fusermount"))
struct NTFSTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var size: String
    var options: [String] = []
    var testDescription: String { "\(size) \(options.joined(separator: " "))" }
  }

  static let variants: [Variant] = [
    Variant(size: "20M"),
    Variant(size: "8M", options: ["-c", "512"]),
    Variant(size: "30M", options: ["-c", "1024"]),
    Variant(size: "70M", options: ["-c", "2048"]),
    Variant(size: "100M", options: ["-c", "8192"]),
    Variant(size: "200M", options: ["-c", "65536"]),
    Variant(size: "300M", options: ["-c", "131072"]),
    Variant(size: "600M", options: ["-c", "2097152"]),
    Variant(size: "64M", options: ["-s", "4096", "-c", "4096"]),
    Variant(size: "41943552"),
    Variant(size: "60G"),
    Variant(size: "9G", options: ["-c", "512"]),
  ]

  @Test(arguments: variants)
  func freeIsWhatTheBitmapCallsFree(_ variant: Variant) throws {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: variant.size)
    try runChecked(["mkntfs", "-q", "-F", "-f"] + variant.options + [path])
    #expect(try SurveyedDisk(path).free == freeClusters(path), "fresh")
    let files = try fill(path, directory)
    let disk = try SurveyedDisk(path)
    let volume = try disk.volume
    #expect(volume.fileSystem == .ntfs)
    #expect(volume.freeSpace.obstacle == nil, "\(String(describing: volume.freeSpace.obstacle))")
    #expect(try disk.free == freeClusters(path))
    try disk.overwriteFree()
    #expect(try run(["ntfsfix", "-n", path]).succeeded)
    try expect(files, in: path, directory)
    #expect(try SurveyedDisk(path).free == disk.free)
  }

  /// A volume full of small files, every second one deleted again, makes the file table grow into so many pieces that its
  /// run list needs a record of its own, and an attribute list.
  @Test(.requiresPrograms("python3")) func fileTableInManyPieces() throws {
    let directory = try TemporaryDirectory()
    let path = try newDisk(directory, size: "8M")
    try runChecked(["mkntfs", "-q", "-F", "-f", "-c", "512", path])
    let script = """
      import os, sys
      os.chdir(sys.argv[1])
      def fill(prefix, data):
        count = 0
        try:
          while True:
            with open(prefix + str(count), "wb") as file: file.write(data)
            count += 1
        except OSError: return count
      for number in range(0, fill("a", b"x" * 1000), 2): os.unlink("a" + str(number))
      fill("b", b"")
      """
    try mounted(path, directory) { root in try runChecked(["python3", "-c", script, root]) }
    let information = try run(["ntfsinfo", "-i", "0", "-f", "-v", path]).output
    #expect(information.contains("$ATTRIBUTE_LIST"), "the file table lies in too few pieces")
    let disk = try SurveyedDisk(path)
    #expect(try disk.volume.freeSpace.obstacle == nil)
    #expect(try disk.free == freeClusters(path))
    try disk.overwriteFree()
    #expect(try run(["ntfsfix", "-n", path]).succeeded)
    #expect(try SurveyedDisk(path).free == disk.free)
  }

  /// Puts files into it, of which some are deleted again; the names and sources of those that stay.
  private func fill(_ path: String, _ directory: TemporaryDirectory) throws -> [(String, String)] {
    var stay: [(String, String)] = []
    try mounted(path, directory) { root in
      for (index, size) in [100, 5_000, 70_000, 300_000, 40_000, 9_000, 1_000_000, 2_000].enumerated() {
        let source = directory.file("source\(index)")
        try writeFile(source, pattern(seed: UInt64(index + 1), count: size))
        try runChecked(["cp", source, "\(root)/file\(index)"])
        if index % 3 != 1 { stay.append(("file\(index)", source)) }
      }
      for index in [1, 4, 7] { try runChecked(["rm", "\(root)/file\(index)"]) }
    }
    return stay
  }

  private func expect(_ files: [(String, String)], in path: String, _ directory: TemporaryDirectory) throws {
    for (name, source) in files {
      let content = try run(["bash", "-c", "ntfscat '\(path)' '\(name)' | cmp - '\(source)'"])
      #expect(content.succeeded, "\(name): \(content.summary)")
    }
  }
}

/// Mounts a volume with ntfs-3g for a while.
func mounted(_ path: String, _ directory: TemporaryDirectory, _ body: (String) throws -> Void) throws {
  let root = try directory.directory("mounted")
  try runChecked(["ntfs-3g", path, root])
  defer { _ = try? run(["fusermount", "-u", "-z", root]) }
  try body(root)
  try runChecked(["sync", "-f", root])
  try runChecked(["fusermount", "-u", root])
  // The program writes the last of it after the mount is gone; the lock it holds says when it is done.
  guard eventually(within: 10, { (try? run(["ntfsfix", "-n", path]))?.succeeded == true }) else {
    throw TestFailure("\(path) is still held")
  }
}

/// What $Bitmap calls free, as ranges of bytes.
func freeClusters(_ path: String) throws -> [Range<UInt64>] {
  let directory = try TemporaryDirectory()
  let copy = directory.file("bitmap")
  try runChecked(["bash", "-c", "ntfscat -f -i 6 '\(path)' >'\(copy)'"])
  let facts = try runChecked(["ntfsinfo", "-m", "-f", path])
  func number(_ key: String) -> UInt64 {
    for line in facts.split(separator: "\n") where line.contains(key) {
      if let value = line.split(separator: ":").last.flatMap({ UInt64($0.filter(\.isNumber)) }) {
        return value
      }
    }
    return 0
  }
  let size = number("Cluster Size")
  let count = number("Volume Size in Clusters")
  let file = try OpenFile(copy)
  let bitmap = try file.read(at: 0, count: Int(file.size))
  var ranges: [Range<UInt64>] = []
  var cluster: UInt64 = 0
  while cluster < count {
    let byte = bitmap[Int(cluster / 8)]
    if cluster % 8 == 0, byte == 0xFF {
      cluster += 8
      continue
    }
    if byte >> UInt8(cluster % 8) & 1 == 1 {
      cluster += 1
      continue
    }
    let start = cluster
    while cluster < count {
      if cluster % 8 == 0, bitmap[Int(cluster / 8)] == 0 {
        cluster = min(cluster + 8, count)
        continue
      }
      if bitmap[Int(cluster / 8)] >> UInt8(cluster % 8) & 1 == 1 { break }
      cluster += 1
    }
    ranges.append(start * size..<cluster * size)
  }
  return ranges
}
