import Glibc
import Storage
import TestSupport
import VirtualDisk

/// A chain in memory beside a model of what it must read as: for each sector the contents at the last flush, and all
/// that was written to it since.
package struct ModelledDisk {
  package static let sector = 512

  package let size: Int
  /// The leaf's file; the parents never change.
  package var file: RecordedFile
  package let parents: [SparseBytes]
  package private(set) var disk: VirtualDisk
  package private(set) var now: [UInt8]
  /// What each sector may read as after a power cut; empty: only `now`.
  private var older: [Int: [[UInt8]]] = [:]

  package init(leaf: RecordedFile, parents: [SparseBytes], size: Int, contents: [UInt8]) throws {
    file = leaf
    self.parents = parents
    self.size = size
    now = contents
    disk = try ModelledDisk.open(leaf, parents)
    leaf.sample(SeededGenerator(seed: 7))
  }

  package static func open(_ leaf: RecordedFile, _ parents: [SparseBytes]) throws -> VirtualDisk {
    try VirtualDisk(
      files: ([leaf] + parents.map { RecordedFile($0) }).enumerated().map { depth, double in
        HostFile(path: "layer\(depth)", double: double, isWritable: depth == 0)
      })
  }

  package mutating func write(_ bytes: [UInt8], at offset: Int) throws {
    remember(offset..<(offset + bytes.count))
    now.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
    remember(offset..<(offset + bytes.count))
    let disk = disk
    let result: Result<Bool, ImageError> = bytes.withUnsafeBytes { buffer in
      Result { () throws(ImageError) in try disk.write(buffer, at: UInt64(offset), mayWait: true) }
    }
    _ = try result.get()
  }

  package mutating func zero(at offset: Int, length: Int) throws {
    remember(offset..<(offset + length))
    for index in offset..<(offset + length) { now[index] = 0 }
    remember(offset..<(offset + length))
    try disk.zero(at: UInt64(offset), length: UInt64(length))
  }

  /// Flushes; answers the first foreign sector in a state that a power cut during it could have left.
  @discardableResult
  package mutating func flush() throws -> Int? {
    try disk.flush()
    let foreign = try firstForeignSectorInSamples()
    older = [:]
    return foreign
  }

  /// Closes cleanly; answers as `flush` does.
  @discardableResult
  package mutating func finish() throws -> Int? {
    try disk.finishWriting()
    let foreign = try firstForeignSectorInSamples()
    older = [:]
    return foreign
  }

  package func firstForeignSectorInSamples() throws -> Int? {
    for state in file.takeSamples() {
      if let foreign = try firstForeignSector(in: state) { return foreign }
    }
    return nil
  }

  /// Opens the chain anew from what the file holds.
  package mutating func reopen() throws {
    disk = try ModelledDisk.open(file, parents)
  }

  /// Goes on from a state that a power cut left: what it reads as is the truth from then on.
  package mutating func adopt(_ state: SparseBytes) throws {
    file = RecordedFile(state)
    file.sample(SeededGenerator(seed: UInt64(state.size)))
    try reopen()
    now = try contents(of: disk)
    older = [:]
  }

  private mutating func remember(_ range: Range<Int>) {
    for sector in (range.lowerBound / ModelledDisk.sector)...((range.upperBound - 1) / ModelledDisk.sector) {
      let bytes = Array(now[(sector * ModelledDisk.sector)..<min((sector + 1) * ModelledDisk.sector, size)])
      if older[sector, default: []].last != bytes { older[sector, default: []].append(bytes) }
    }
  }

  package func contents(of disk: VirtualDisk) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xEE, count: size)
    let result: Result<Bool, ImageError> = bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(ImageError) in try disk.read(into: buffer, at: 0, mayWait: true) }
    }
    _ = try result.get()
    return bytes
  }

  /// The first byte that differs from the model; nil when all agree.
  package func firstDifference() throws -> Int? {
    let found = try contents(of: disk)
    if found == now { return nil }
    return (0..<size).first { found[$0] != now[$0] }
  }

  /// The first sector of a crashed state that reads as none of what it may read as: its old contents, any of the new
  /// ones, or zero where it was written since the flush.
  package func firstForeignSector(in state: SparseBytes) throws -> Int? {
    let found = try contents(of: try ModelledDisk.open(RecordedFile(state), parents))
    // Most of the disk is as it was: whole stretches first.
    for start in stride(from: 0, to: size, by: 1 << 16) {
      let stretch = start..<min(start + (1 << 16), size)
      if found[stretch].withUnsafeBytes({ one in
        now[stretch].withUnsafeBytes { memcmp(one.baseAddress!, $0.baseAddress!, one.count) == 0 }
      }) {
        // Equal to what was written last; but where that was not flushed, it is allowed all the same.
        continue
      }
      for sector
        in (start / ModelledDisk.sector)..<((stretch.upperBound + ModelledDisk.sector - 1)
        / ModelledDisk.sector)
      where !isAllowed(found, sector: sector) {
        return sector
      }
    }
    return nil
  }

  private func isAllowed(_ found: [UInt8], sector: Int) -> Bool {
    let range = (sector * ModelledDisk.sector)..<min((sector + 1) * ModelledDisk.sector, size)
    let bytes = found[range]
    guard let allowed = older[sector] else { return bytes.elementsEqual(now[range]) }
    if allowed.contains(where: { $0.elementsEqual(bytes) }) || bytes.allSatisfy({ $0 == 0 }) { return true }
    // A sector that was written in pieces may hold pieces of several of its versions.
    return range.allSatisfy { index in
      allowed.contains { $0[index - range.lowerBound] == found[index] } || found[index] == 0
    }
  }
}
