import Foundation
import Storage
import TestSupport
import Testing
import VHDX

@testable import VirtualDisk

@Suite("A log of ours")
struct ReplayTests {
  /// Commits without closing, as a kill or a power cut leaves the file, and lets QEMU replay a copy.
  @Test("is replayed by QEMU to the same contents", .requiresPrograms("qemu-img"), arguments: [1, 40, 130])
  func byQEMU(blocks: Int) throws {
    let folder = try ImageFolder()
    let size: UInt64 = 1 << 40
    try folder.make("disk.vhdx", size: size)
    let library = try DiskLibrary(sources: [folder.path])
    let handle = try library.open("disk.vhdx", access: .write)
    var generator = SeededGenerator(seed: UInt64(blocks))
    var places: [UInt64: [UInt8]] = [:]
    for number in 0..<blocks {
      // Far apart, so that many pages of the table change.
      let place = UInt64.random(in: 0..<(size / 4096), using: &generator) * 4096
      let bytes = pattern(seed: UInt64(number), count: 4096)
      places[place] = bytes
      _ = try bytes.withUnsafeBytes { try handle.disk.write($0, at: place, mayWait: true) }
    }
    try handle.disk.flush()
    let copy = folder.path + "/copy.vhdx"
    try runChecked(["cp", "--sparse=always", folder.path + "/disk.vhdx", copy])
    let dirty = try VHDXImage(try HostFile.open(copy, writable: false))
    #expect(dirty.logIsDirty)
    // It repairs, and says so by its status 0 or 3 ("leaked clusters").
    let repaired = try run(["qemu-img", "check", "-r", "all", copy])
    #expect(repaired.status == 0 || repaired.status == 3, "\(repaired.summary)")
    #expect(try VHDXImage(try HostFile.open(copy, writable: false)).logIsDirty == false)
    for (place, bytes) in places {
      let found = try run([
        "qemu-io", "-f", "vhdx", "-r", "-c", "read -v \(place) 512", copy,
      ])
      let first = bytes.prefix(16).map { String(format: "%02x", $0) }.joined(separator: " ")
      #expect(found.output.contains(first), "\(place): \(found.summary)")
    }
    try runChecked(["qemu-img", "check", copy])
    try handle.close()
  }
}
