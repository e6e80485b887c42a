import Dispatch
import Glibc
import Storage
import Synchronization
import TestSupport
import Testing

@testable import VHD

/// Many threads on one image: each owns sectors of its own all over the disk, and finds in them what it put
/// there.
@Suite struct ConcurrencyTests {
  @Test(arguments: [1, 2]) func threadsDoNotDisturbEachOther(_ seed: Int) throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("disk.vhd")
    let (size, blockSize): (UInt64, UInt64) = (16 << 20, 512 << 10)
    try VHDImage.create(
      try HostFile.create(path), VHDCreation(kind: .dynamic, virtualSize: size, blockSize: UInt32(blockSize)))
    let image = try VHDImage(try HostFile.open(path, writable: true))
    try image.beginWriting()
    let (threads, stripe) = (4, UInt64(8192))
    let failures = Mutex<[String]>([])
    let models = Mutex<[Int: [UInt64: [UInt8]]]>([:])

    @Sendable func work(_ number: Int) throws {
      let disk = SmallDisk([image])
      var generator = SeededGenerator(seed: UInt64(seed * 100 + number))
      var model: [UInt64: [UInt8]] = [:]
      for _ in 0..<400 {
        let stripes = size / stripe / UInt64(threads)
        let offset =
          (UInt64.random(in: 0..<stripes, using: &generator) * UInt64(threads) + UInt64(number)) * stripe
        switch Int.random(in: 0..<10, using: &generator) {
        case 0...2:
          try disk.zero(offset, stripe)
          model[offset] = [UInt8](repeating: 0, count: Int(stripe))
        case 3...7:
          let bytes = pattern(Int(stripe), &generator)
          try disk.write(bytes, at: offset)
          model[offset] = bytes
        case 8:
          let entered = image.gate.enter()
          defer { image.gate.leave(entered) }
          let expected = model[offset] ?? [UInt8](repeating: 0, count: Int(stripe))
          if !same(try disk.read(offset, Int(stripe)), expected) {
            failures.withLock { $0.append("thread \(number): offset \(offset)") }
          }
        default:
          if number == 0 && Bool.random(using: &generator) {
            try image.finishWriting()
          } else {
            try image.commit()
          }
        }
      }
      models.withLock { $0[number] = model }
    }

    DispatchQueue.concurrentPerform(iterations: threads) { number in
      do { try work(number) } catch { failures.withLock { $0.append("thread \(number): \(error)") } }
    }
    #expect(failures.withLock { $0 } == [])
    if image.isWriting { try image.finishWriting() }
    let disk = SmallDisk([try VHDImage(try HostFile.open(path, writable: false))])
    for (number, model) in models.withLock({ $0 }) {
      for (offset, bytes) in model where !same(try disk.read(offset, bytes.count), bytes) {
        Issue.record("thread \(number)'s bytes at \(offset) are not there after the close")
      }
    }
  }

  /// The clean close waits for a write that was prepared before it, and what that wrote is in the file.
  @Test func closingWaitsForWritesUnderWay() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("disk.vhd")
    try VHDImage.create(try HostFile.create(path), VHDCreation(kind: .dynamic, virtualSize: 16 << 20))
    let image = try VHDImage(try HostFile.open(path, writable: true))
    try image.beginWriting()
    let bytes = [UInt8](repeating: 7, count: 4096)
    let entered = image.gate.enter()
    let run = try image.prepareWrite(at: 8192, limit: 4096, mayAllocate: true, mayWait: true)
    let closed = Atomic<Bool>(false)
    DispatchQueue.concurrentPerform(iterations: 2) { number in
      do {
        if number == 0 {
          try image.finishWriting()
          closed.store(true, ordering: .sequentiallyConsistent)
        } else {
          usleep(100_000)
          let wasClosed = closed.load(ordering: .sequentiallyConsistent)
          #expect(!wasClosed)
          try bytes.withUnsafeBytes { try image.file.write($0, at: run.fileOffset) }
          try image.completeWrite(run)
          image.gate.leave(entered)
        }
      } catch {
        Issue.record(error)
      }
    }
    #expect(!image.isWriting && !image.hasUncommittedChanges)
    let disk = SmallDisk([try VHDImage(try HostFile.open(path, writable: false))])
    #expect(try disk.read(8192, 4096) == bytes)
  }

  /// A block that is punched in pieces is released, but never under a write that is on its way.
  @Test func emptiedBlocksAreReleased() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("disk.vhd")
    try VHDImage.create(try HostFile.create(path), VHDCreation(kind: .dynamic, virtualSize: 16 << 20))
    let file = try HostFile.open(path, writable: true)
    let image = try VHDImage(file)
    let disk = SmallDisk([image])
    try image.beginWriting()
    try disk.write([UInt8](repeating: 1, count: 2 << 20), at: 0)
    try disk.write([UInt8](repeating: 1, count: 2 << 20), at: 2 << 20)
    try image.commit()
    // A write to the first block is prepared before the block is emptied, and arrives after.
    let entered = image.gate.enter()
    let run = try image.prepareWrite(at: 4096, limit: 4096, mayAllocate: false, mayWait: true)
    #expect(run.kind == .ready)
    for offset in stride(from: UInt64(0), to: 4 << 20, by: 65536) { try disk.zero(offset, 65536) }
    try image.commit()
    try image.commit()
    let bytes = [UInt8](repeating: 7, count: 4096)
    try bytes.withUnsafeBytes { try file.write($0, at: run.fileOffset) }
    image.gate.leave(entered)
    // One that is prepared after the block was emptied, so late that the gate does not wait for it, keeps it.
    for offset in stride(from: UInt64(2 << 20), to: 4 << 20, by: 65536) { try disk.zero(offset, 65536) }
    image.gate.advance()
    let late = image.gate.enter()
    let second = try image.prepareWrite(at: 3 << 20, limit: 4096, mayAllocate: true, mayWait: true)
    try image.commit()
    try image.commit()
    try bytes.withUnsafeBytes { try file.write($0, at: second.fileOffset) }
    if second.kind == .tracked { try image.completeWrite(second) }
    image.gate.leave(late)
    try image.finishWriting()
    #expect(try disk.read(4096, 4096) == bytes)
    #expect(try disk.read(3 << 20, 4096) == bytes)
    try image.beginWriting()
    for offset in stride(from: UInt64(0), to: 4 << 20, by: 65536) { try disk.zero(offset, 65536) }
    try image.finishWriting()
    // Where the host knows holes, the blocks are given up, and the file is as small as a new one.
    if file.nextData(from: 3 << 20, end: 4 << 20) == nil {
      #expect(try file.size() == 12288)
    }
    #expect(try disk.read(0, 4 << 20).allSatisfy { $0 == 0 })
  }
}
