import Foundation
import Storage
import TestSupport

/// Asks QEMU, and libvhdi where QEMU does not read a kind, about states in files.
///
/// - Fixed and dynamic VHDX: `qemu-img check -r all` replays the log, as it would be replayed when the image is next
///   used; then a check finds nothing, and the disk reads as something that it may read as.
/// - Fixed and dynamic VHD: QEMU has no check for it; the disk reads as something that it may. (Not always as it does
///   here: QEMU does not look at the sector bitmaps of a dynamic VHD, so it sees more of what was never flushed.)
/// - Children: QEMU reads none. `vhdiinfo` opens those of VHD (it wants the footer at the end) and of VHDX without a
///   log to be replayed (it knows no log).
/// - Sectors of 4 KiB: QEMU reads none of them; they are as the children.
package struct QEMUJudge: CrashJudge {
  private let directory: TemporaryDirectory
  private let hasVHDI: Bool

  /// Nil without QEMU.
  package init?() throws {
    guard isInstalled("qemu-img") else { return nil }
    directory = try TemporaryDirectory()
    hasVHDI = isInstalled("vhdiinfo")
  }

  package func refusal(
    _ state: SparseBytes, _ kind: ChainKind, _ window: DiskWindow, firstForeign: ([UInt8]) -> Int?
  ) throws -> String? {
    let path = directory.file(kind.isVHD ? "state.vhd" : "state.vhdx")
    unlink(path)
    try write(state, to: path)
    guard kind.parentCount == 0 else { return try libvhdiRefusal(path, state, kind) }
    if !kind.isVHD {
      // 0 or 3: nothing to repair, or repaired.
      let repaired = try run(["qemu-img", "check", "-q", "-r", "all", path])
      guard repaired.status == 0 || repaired.status == 3 else { return repaired.summary }
      let checked = try run(["qemu-img", "check", "-q", path])
      guard checked.succeeded else { return checked.summary }
    }
    // Of a large disk only some places are known here.
    guard window.ranges.count == 1 else { return nil }
    let raw = directory.file("disk.raw")
    unlink(raw)
    let converted = try run([
      "qemu-img", "convert", "-f", kind.isVHD ? "vpc" : "vhdx", "-O", "raw", path, raw,
    ])
    guard converted.succeeded else { return converted.summary }
    let found = try OpenFile(raw).read(at: 0, count: window.count)
    return firstForeign(found).map { "QEMU reads at \($0) what was never there" }
  }

  private func libvhdiRefusal(_ path: String, _ state: SparseBytes, _ kind: ChainKind) throws -> String? {
    guard hasVHDI else { return nil }
    if kind.isVHD {
      guard state.size >= 512, state.bytes(at: state.size - 512, count: 8) == Array("conectix".utf8) else {
        return nil
      }
    } else {
      // LogGuid of either header.
      for header in [UInt64(64 << 10), 128 << 10] {
        if state.bytes(at: header + 48, count: 16).contains(where: { $0 != 0 }) { return nil }
      }
    }
    let info = try run(["vhdiinfo", path])
    return info.succeeded ? nil : info.summary
  }

  private func write(_ state: SparseBytes, to path: String) throws {
    let file = try OpenFile(path, O_RDWR | O_CREAT | O_TRUNC)
    guard ftruncate(file.descriptor, off_t(state.size)) == 0 else {
      throw TestFailure("\(path) cannot be made")
    }
    var offset: UInt64 = 0
    while let page = state.nextPage(from: offset, end: state.size) {
      let start = page / SparseBytes.pageSize * SparseBytes.pageSize
      let count = Int(min(SparseBytes.pageSize, state.size - start))
      try file.write(state.bytes(at: start, count: count), at: start)
      offset = start + SparseBytes.pageSize
    }
  }
}
