import Foundation
import Storage
import Synchronization
import TestSupport
import Testing
import VHD
import VHDX

@testable import VirtualDisk

@Suite("Many at once")
struct ConcurrencyTests {
  enum Kind: String, CaseIterable, Sendable {
    case dynamicVHDX, childVHDX, dynamicVHD, childVHD
  }

  static let size: UInt64 = 24 << 20

  /// A chain on real files in a directory of its own; the leaf is `leaf.vhd` or `leaf.vhdx`.
  static func makeChain(_ kind: Kind, in folder: String) throws -> (name: String, contents: [UInt8]) {
    var contents = [UInt8](repeating: 0, count: Int(size))
    let isVHDX = kind == .dynamicVHDX || kind == .childVHDX
    let suffix = isVHDX ? "vhdx" : "vhd"
    func make(_ name: String, parent: HostFile?) throws {
      let file = try HostFile.create("\(folder)/\(name)")
      if isVHDX {
        let locator = try parent.map {
          ParentLocator(linkage: try VHDXImage($0).dataWriteGUID, relativePath: ".\\parent.vhdx")
        }
        try VHDXImage.create(
          file,
          VHDXCreation(
            kind: locator.map { .differencing(parent: $0, inherited: []) } ?? .dynamic, virtualSize: size,
            blockSize: 1 << 20))
      } else {
        let identity = try parent.map { try VHDImage($0).footer }
        try VHDImage.create(
          file,
          VHDCreation(
            kind: identity.map {
              .differencing(
                parent: VHDParent(
                  uniqueID: $0.uniqueID, timeStamp: 0, relativePath: ".\\parent.vhd",
                  absolutePath: "C:\\parent.vhd"))
            } ?? .dynamic, virtualSize: size, blockSize: 512 << 10))
      }
    }
    guard kind == .childVHDX || kind == .childVHD else {
      try make("leaf.\(suffix)", parent: nil)
      return ("leaf.\(suffix)", contents)
    }
    try make("parent.\(suffix)", parent: nil)
    let library = try DiskLibrary(sources: [folder])
    let handle = try library.open("parent.\(suffix)", access: .write)
    let bytes = pattern(seed: 77, count: 9 << 20)
    _ = try bytes.withUnsafeBytes { try handle.disk.write($0, at: 3 << 20, mayWait: true) }
    contents.replaceSubrange((3 << 20)..<(12 << 20), with: bytes)
    try handle.close()
    try make("leaf.\(suffix)", parent: try HostFile.open("\(folder)/parent.\(suffix)", writable: false))
    return ("leaf.\(suffix)", contents)
  }

  @Test(
    "Writers, zeroers, readers and flushers of one disk do not harm one another", arguments: Kind.allCases)
  func stress(_ kind: Kind) throws {
    let folder = NSTemporaryDirectory() + "vhdfs-concurrency-\(kind.rawValue)-\(getpid())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let (name, initial) = try ConcurrencyTests.makeChain(kind, in: folder)
    let library = try DiskLibrary(sources: [folder])
    let handle = try library.open(name, access: .write)
    let disk = handle.disk

    // Each worker owns every fourth page of the disk and knows what it must hold.
    let workers = 4
    let page = 4096
    let problems = Mutex<[String]>([])
    let finals = Mutex<[Int: [UInt8]]>([:])
    let isDone = Atomic<Bool>(false)
    let group = DispatchGroup()
    for worker in 0..<workers {
      DispatchQueue.global().async(group: group) {
        var generator = SeededGenerator(seed: UInt64(worker) + 100)
        var mine = initial
        var buffer = [UInt8](repeating: 0, count: page)
        for number in 0..<2500 {
          let offset =
            (Int.random(in: 0..<(Int(Self.size) / page / workers), using: &generator) * workers + worker)
            * page
          let isPart = Int.random(in: 0..<8, using: &generator) == 0
          let start = offset + (isPart ? Int.random(in: 0..<page, using: &generator) : 0)
          let count = isPart ? Int.random(in: 1...(offset + page - start), using: &generator) : page
          do {
            switch Int.random(in: 0..<10, using: &generator) {
            case 0..<5:
              let bytes = pattern(seed: generator.next(), count: count)
              mine.replaceSubrange(start..<(start + count), with: bytes)
              _ = try bytes.withUnsafeBytes { try disk.write($0, at: UInt64(start), mayWait: true) }
            case 5, 6:
              mine.replaceSubrange(start..<(start + count), with: repeatElement(0, count: count))
              try disk.zero(at: UInt64(start), length: UInt64(count))
            default:
              _ = try buffer.withUnsafeMutableBytes {
                try disk.read(into: $0, at: UInt64(offset), mayWait: true)
              }
              if !buffer.elementsEqual(mine[offset..<(offset + page)]) {
                problems.withLock { $0.append("worker \(worker) step \(number): page at \(offset) differs") }
                return
              }
            }
          } catch {
            problems.withLock { $0.append("worker \(worker) step \(number): \(error)") }
            return
          }
        }
        let result = mine
        finals.withLock { $0[worker] = result }
      }
    }
    let flusher = DispatchGroup()
    DispatchQueue.global().async(group: flusher) {
      var count = 0
      while !isDone.load(ordering: .relaxed) {
        do {
          try disk.flush()
          if count % 8 == 7 { try disk.finishWriting() }
        } catch {
          problems.withLock { $0.append("flush: \(error)") }
          return
        }
        count += 1
        usleep(2000)
      }
    }
    group.wait()
    isDone.store(true, ordering: .relaxed)
    flusher.wait()
    #expect(problems.withLock { $0 } == [])
    try handle.close()

    var expected = initial
    for (worker, mine) in finals.withLock({ $0 }) {
      for index in stride(from: worker * page, to: Int(Self.size), by: workers * page) {
        expected.replaceSubrange(index..<(index + page), with: mine[index..<(index + page)])
      }
    }
    let again = try library.open(name, access: .read)
    var found = [UInt8](repeating: 1, count: Int(Self.size))
    _ = try found.withUnsafeMutableBytes { try again.disk.read(into: $0, at: 0, mayWait: true) }
    try again.close()
    let isEqual = found == expected
    let first = isEqual ? -1 : (0..<expected.count).first { found[$0] != expected[$0] } ?? -1
    #expect(isEqual, "first difference at \(first)")
  }
}
