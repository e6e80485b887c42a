import Dispatch
import Glibc
import LinuxSystem
import TestSupport
import TestSystem

/// Writers of stamped sectors: plain writes with a flush now and then, writes that carry one (RWF_DSYNC; O_DIRECT with
/// O_DSYNC), punched holes, zeroed ranges; from 512 bytes to more than a block.
///
/// Unchecked: the group and the generator are used by the thread that starts and stops only.
final class RecordLoad: Load, @unchecked Sendable {
  static let size = 64 << 20

  private enum Writer: CaseIterable {
    case flushing, durable, direct

    var unit: Int { self == .direct ? 8 : 1 }
    var flags: Int32 { self == .direct ? Int32(TEST_OPEN_DIRECT) | Int32(TEST_OPEN_DSYNC) : 0 }
  }

  let history: SectorHistory
  private let writers = DispatchGroup()
  private var generator: SeededGenerator
  private var moment = Moment()

  init(seed: UInt64) {
    history = SectorHistory(seed: seed, size: RecordLoad.size)
    generator = SeededGenerator(seed: seed ^ 0x1ead)
  }

  /// A part of the disk holds records from the beginning: a parent's, or those of blocks that have room.
  func prepare(_ disk: String) throws {
    let moment = Moment()
    let descriptor = test_open_special(disk, 0)
    guard descriptor >= 0 else { throw TestFailure("\(disk): \(String(cString: strerror(errno)))") }
    defer { close(descriptor) }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: RecordLoad.largest, alignment: 4096)
    defer { buffer.deallocate() }
    for _ in 0..<24 { try change(descriptor, .flushing, moment, buffer, &generator) }
    try synchronize(descriptor, moment, dataOnly: false)
  }

  func start(_ disk: String, _ moment: Moment) throws {
    self.moment = moment
    for writer in Writer.allCases {
      let seed = generator.next()
      let descriptor = test_open_special(disk, writer.flags)
      guard descriptor >= 0 else { throw TestFailure("\(disk): \(String(cString: strerror(errno)))") }
      DispatchQueue.global().async(group: writers) { [self] in
        defer { close(descriptor) }
        var generator = SeededGenerator(seed: seed)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: RecordLoad.largest, alignment: 4096)
        defer { buffer.deallocate() }
        do {
          while !moment.isOver.load(ordering: .acquiring) {
            if writer == .flushing, Int.random(in: 0..<10, using: &generator) == 0 {
              try synchronize(descriptor, moment, dataOnly: Bool.random(using: &generator))
            } else {
              try change(descriptor, writer, moment, buffer, &generator)
            }
          }
        } catch {
          moment.ended(error)
        }
      }
    }
  }

  func endIsNear() {}

  func stop(_ totals: inout Totals) throws {
    guard writers.wait(timeout: .now() + 60) == .success else {
      throw TestFailure("writers hang after the kill")
    }
  }

  func verify(_ disk: String, _ totals: inout Totals) throws {
    let verdict = try history.verify(disk)
    totals.records += verdict.records
    totals.openSectors += verdict.open
    totals.newerSectors += verdict.newer
  }

  func verifyForeign(_ raw: String) throws { _ = try history.verify(raw, settles: false) }

  // MARK: - Writing

  private static let largest = 3 << 20

  private func synchronize(_ descriptor: Int32, _ moment: Moment, dataOnly: Bool) throws {
    let mark = history.mark()
    try moment.durably {
      guard (dataOnly ? fdatasync(descriptor) : fsync(descriptor)) == 0 else {
        throw TestFailure("flush: \(String(cString: strerror(errno)))")
      }
    }
    history.settle(upTo: mark)
  }

  private func change(
    _ descriptor: Int32, _ writer: Writer, _ moment: Moment, _ buffer: UnsafeMutableRawBufferPointer,
    _ generator: inout SeededGenerator
  ) throws {
    let kind = Int.random(in: 0..<16, using: &generator)
    let longest =
      switch Int.random(in: 0..<12, using: &generator) {
      case 0: RecordLoad.largest / Stamp.sector
      case 1...4: 256
      default: 16
      }
    let unit = writer.unit
    let change = history.begin(isZero: kind < 2) {
      let count = Int.random(in: 1...max(longest / unit, 1), using: &generator) * unit
      let first = Int.random(in: 0...(history.sectors - count) / unit, using: &generator) * unit
      return first..<first + count
    }
    let offset = off_t(change.first * Stamp.sector)
    let length = change.count * Stamp.sector
    moment.writes.add(1, ordering: .relaxed)
    switch kind {
    case 0, 1:
      let result =
        kind == 0
        ? linux_punch_hole(descriptor, offset, off_t(length))
        : linux_zero_range(descriptor, offset, off_t(length))
      guard result == 0 else { throw TestFailure("zeroing: \(String(cString: strerror(errno)))") }
      history.end(change, isDurable: false)
    default:
      for index in 0..<change.count {
        history.stamp.fill(
          UnsafeMutableRawBufferPointer(
            rebasing: buffer[index * Stamp.sector..<(index + 1) * Stamp.sector]),
          sector: change.first + index, generation: change.generation)
      }
      if writer == .flushing {
        try writeWhole(buffer, length, offset) { pwrite(descriptor, $0, $1, $2) }
      } else {
        // One request that succeeds is durable; a short one is not taken for the whole.
        try moment.durably {
          try writeWhole(buffer, length, offset) {
            writer == .durable ? test_pwrite_durably(descriptor, $0, $1, $2) : pwrite(descriptor, $0, $1, $2)
          }
        }
      }
      history.end(change, isDurable: writer != .flushing)
    }
  }

  private func writeWhole(
    _ buffer: UnsafeMutableRawBufferPointer, _ length: Int, _ offset: off_t,
    _ write: (UnsafeMutableRawPointer?, Int, off_t) -> Int
  ) throws {
    var done = 0
    while done < length {
      let count = write(buffer.baseAddress.map { $0 + done }, length - done, offset + off_t(done))
      guard count > 0 else { throw TestFailure("write: \(String(cString: strerror(errno)))") }
      done += count
    }
  }
}
