import Glibc
import TestSupport
import Testing

/// What programs that are not ours say of an image.
enum Oracles {
  /// Compares an image with a model through every reader that knows its kind. The image must be closed.
  static func compare(_ path: String, _ kind: ImageKind, with model: DiskModel) throws {
    if kind.isKnownToQEMU {
      let raw = path + ".qemu"
      defer { unlink(raw) }
      try runChecked(["qemu-img", "convert", "-f", kind.qemuFormat, "-O", "raw", path, raw])
      let difference = try model.firstDifference(inFile: raw)
      #expect(difference == nil, "qemu-img reads other bytes")
    }
    if kind.isKnownToQEMU && kind.isVHDX {
      let check = try run(["qemu-img", "check", "-f", "vhdx", path])
      #expect(check.succeeded && check.output.contains("No errors"), "\(check.summary)")
    }
    // 7-Zip wants whole mebibytes and 512-byte sectors.
    if model.size % (1 << 20) == 0 && kind.sectorSize == 512 {
      let raw = path + ".7z"
      defer { unlink(raw) }
      try runChecked(["sh", "-c", "7z e -so \"$1\" >\"$2\"", "sh", path, raw])
      let difference = try model.firstDifference(inFile: raw)
      #expect(difference == nil, "7z reads other bytes")
    }
    // libvhdi lets the parent show through a block of zeros of a child: asked about single files only.
    if !kind.isChild { try compareWithLibvhdi(path, model) }
    if kind.isVHDX { try expectCleanLog(path) }
  }

  private static func compareWithLibvhdi(_ path: String, _ model: DiskModel) throws {
    let directory = try TemporaryDirectory()
    let mounted = try run(["vhdimount", path, directory.path])
    guard mounted.succeeded else {
      Issue.record("vhdimount: \(mounted.summary)")
      return
    }
    defer { _ = try? runChecked(["umount", directory.path]) }
    let difference = try model.firstDifference(inFile: directory.file("vhdi1"))
    #expect(difference == nil, "libvhdi reads other bytes")
  }

  /// Whether neither header names a log.
  static func logIsEmpty(_ path: String) throws -> Bool {
    let file = try OpenFile(path)
    return try [0x10000, 0x20000].allSatisfy { try file.read(at: $0 + 48, count: 16).allSatisfy { $0 == 0 } }
  }

  /// Both headers say that there is no log, and are in order: good signatures, sequence numbers that differ by one.
  static func expectCleanLog(_ path: String) throws {
    let file = try OpenFile(path)
    let headers = try [0x10000, 0x20000].map { try file.read(at: $0, count: 80) }
    for header in headers {
      #expect(Array(header.prefix(4)) == Array("head".utf8))
      #expect(header[48..<64].allSatisfy { $0 == 0 }, "the log of \(path) is not empty")
    }
    let sequences = headers.map { header in
      (0..<8).reduce(UInt64(0)) { $0 | UInt64(header[8 + $1]) << UInt64(8 * $1) }
    }
    let distance = max(sequences[0], sequences[1]) - min(sequences[0], sequences[1])
    #expect(distance == 1, "sequence numbers \(sequences)")
  }
}
