import Storage
import TestSupport
import VHDX

/// The same image with its blocks in another order and with gaps between them, and a VHDX's log and regions where no writer
/// of ours puts them. The file must be closed cleanly.
package struct ScatteredLayout {
  private let old: SparseBytes
  private var new: SparseBytes
  private var generator: SeededGenerator
  /// Log and regions may lie among the blocks, or behind them.
  private let movesStructures: Bool

  package static func apply(
    _ contents: SparseBytes, isVHD: Bool, movesStructures: Bool, seed: UInt64
  ) throws -> SparseBytes {
    var layout = ScatteredLayout(contents, movesStructures, seed)
    if isVHD { layout.scatterVHD() } else { try layout.scatterVHDX() }
    return layout.new
  }

  private init(_ contents: SparseBytes, _ movesStructures: Bool, _ seed: UInt64) {
    old = contents
    new = contents
    generator = SeededGenerator(seed: seed)
    self.movesStructures = movesStructures
  }

  /// Something that lies in the file, and who is told where it lies now.
  private struct Piece {
    var place: UInt64
    var length: UInt64
    var tell: (inout SparseBytes, UInt64) -> Void
  }

  /// Puts the pieces one behind the other from `start` on, with gaps here and there; returns where the last one ends.
  private mutating func put(_ pieces: [Piece], from start: UInt64, unit: UInt64) -> UInt64 {
    new.resize(to: start)
    var end = start
    for piece in pieces {
      if Int.random(in: 0..<3, using: &generator) == 0 {
        end += unit * UInt64.random(in: 0...5, using: &generator)
      }
      let source = old
      source.forEachPage(piece.place..<(piece.place + piece.length)) { place, bytes in
        bytes.withUnsafeBytes { new.write($0, at: end + (place - piece.place)) }
      }
      piece.tell(&new, end)
      end += piece.length
      if end > new.size { new.resize(to: end) }
    }
    return end
  }

  // MARK: - VHDX

  /// In the header section, of which nothing else is here.
  private static let notes: UInt64 = 512 << 10

  private mutating func scatterVHDX() throws {
    let mebibyte: UInt64 = 1 << 20
    let image = try VHDXImage(HostFile(path: "old", double: RecordedFile(old)))
    let ratio = UInt64(image.logicalSectorSize) << 23 / image.blockSize
    let regionTable = old.bytes(at: 192 << 10, 65536)
    var structures = [
      Piece(place: old.number(at: 65536 + 72, 8), length: old.number(at: 65536 + 68, 4)) { file, place in
        for header in [UInt64(65536), 131_072] { file.change(header, 4096) { $0.set(place, at: 72, 8) } }
      }
    ]
    // Where the block table lies now; it is copied before the blocks tell their places.
    var tableAt: UInt64 = 0
    var tableWas: UInt64 = 0
    for region in 0..<Int(regionTable.number(at: 8, 4)) {
      let entry = 16 + 32 * region
      let place = regionTable.number(at: entry + 16, 8)
      let length = regionTable.number(at: entry + 24, 4)
      if regionTable[entry] == 0x66 { tableWas = place }
      structures.append(
        Piece(place: place, length: length) { file, now in
          for copy in [UInt64(192 << 10), 256 << 10] {
            file.change(copy, 65536) { $0.set(now, at: entry + 16, 8) }
          }
        })
    }
    let chunks = (image.virtualSize + image.blockSize * ratio - 1) / (image.blockSize * ratio)
    var entries: [(index: UInt64, value: UInt64)] = []
    var blocks: [Piece] = []
    for index in 0..<(chunks * (ratio + 1)) where tableWas + index * 8 < old.size {
      let value = old.number(at: tableWas + index * 8, 8)
      guard value & 7 >= 6 else { continue }
      let number = entries.count
      entries.append((index, value))
      blocks.append(
        Piece(place: value & ~0xF_FFFF, length: index % (ratio + 1) == ratio ? mebibyte : image.blockSize) {
          file, now in
          // Until all lie where they are going to: the table may not have been copied yet.
          file.set(now, at: ScatteredLayout.notes + UInt64(number) * 8, 8)
        })
    }
    blocks.shuffle(using: &generator)
    var start = mebibyte
    if movesStructures {
      blocks = (structures + blocks).shuffled(using: &generator)
    } else {
      start = put(structures, from: mebibyte, unit: 0)
    }
    let end = put(blocks, from: start, unit: mebibyte)
    let regions = new.bytes(at: 192 << 10, 65536)
    for region in 0..<Int(regions.number(at: 8, 4)) where regions[16 + 32 * region] == 0x66 {
      tableAt = regions.number(at: 32 + 32 * region, 8)
    }
    for (number, entry) in entries.enumerated() {
      let note = ScatteredLayout.notes + UInt64(number) * 8
      new.set(new.number(at: note, 8) | entry.value & 7, at: tableAt + entry.index * 8, 8)
      new.set(0, at: note, 8)
    }
    new.resize(to: end)
  }

  // MARK: - VHD

  private mutating func scatterVHD() {
    let header = old.bigEndian(at: 16, 8)
    let table = old.bigEndian(at: header + 16, 8)
    let blockSize = old.bigEndian(at: header + 32, 4)
    let length = max(512, blockSize / 512 / 8) + blockSize
    var blocks: [Piece] = []
    for index in 0..<old.bigEndian(at: header + 28, 4) {
      let place = old.bigEndian(at: table + index * 4, 4)
      guard place != 0xFFFF_FFFF else { continue }
      blocks.append(
        Piece(place: place * 512, length: length) { file, now in
          file.setBigEndian(now / 512, at: table + index * 4, 4)
        })
    }
    guard let start = blocks.map(\.place).min() else { return }
    // A child's paths to its parent.
    for locator in 0..<8 where movesStructures {
      let entry = header + 576 + UInt64(locator) * 24
      let place = old.bigEndian(at: entry + 16, 8)
      guard place > 0 else { continue }
      blocks.append(
        Piece(place: place, length: (old.bigEndian(at: entry + 8, 4) + 511) / 512 * 512) { file, now in
          file.setBigEndian(now, at: entry + 16, 8)
          file.setBigEndian(0, at: header + 36, 4)
          let sum = file.bytes(at: header, 1024).reduce(UInt32(0)) { $0 &+ UInt32($1) }
          file.setBigEndian(UInt64(~sum), at: header + 36, 4)
        })
    }
    blocks.shuffle(using: &generator)
    let footer = old.bytes(at: 0, 512)
    let unit: UInt64 = [512, 4096, blockSize / 2].randomElement(using: &generator) ?? 512
    let end = put(blocks, from: start, unit: unit)
    footer.withUnsafeBytes { new.write($0, at: end) }
    new.resize(to: end + 512)
  }
}

extension SparseBytes {
  fileprivate func bytes(at offset: UInt64, _ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.withUnsafeMutableBytes { _ = read(into: $0, at: offset) }
    return bytes
  }

  fileprivate func number(at offset: UInt64, _ count: Int) -> UInt64 {
    bytes(at: offset, count).number(at: 0, count)
  }

  fileprivate func bigEndian(at offset: UInt64, _ count: Int) -> UInt64 {
    bytes(at: offset, count).reduce(0) { $0 << 8 | UInt64($1) }
  }

  fileprivate mutating func set(_ value: UInt64, at offset: UInt64, _ count: Int) {
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.set(value, at: 0, count)
    bytes.withUnsafeBytes { write($0, at: offset) }
  }

  fileprivate mutating func setBigEndian(_ value: UInt64, at offset: UInt64, _ count: Int) {
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.set(value, at: 0, count)
    bytes.reverse()
    bytes.withUnsafeBytes { write($0, at: offset) }
  }

  /// Changes a structure with a checksum at 4.
  fileprivate mutating func change(_ offset: UInt64, _ count: Int, _ body: (inout [UInt8]) -> Void) {
    var bytes = bytes(at: offset, count)
    body(&bytes)
    bytes.set(0, at: 4, 4)
    bytes.set(UInt64(crc32c(bytes)), at: 4, 4)
    bytes.withUnsafeBytes { write($0, at: offset) }
  }

  /// What is held of a range, in pieces of a page at most.
  fileprivate func forEachPage(_ range: Range<UInt64>, _ body: (UInt64, [UInt8]) -> Void) {
    var place = range.lowerBound
    while let next = nextPage(from: place, end: range.upperBound) {
      let end = min((next / SparseBytes.pageSize + 1) * SparseBytes.pageSize, range.upperBound)
      body(next, bytes(at: next, Int(end - next)))
      place = end
    }
  }
}

extension [UInt8] {
  fileprivate func number(at offset: Int, _ count: Int) -> UInt64 {
    (0..<count).reduce(0) { $0 | UInt64(self[offset + $1]) << (8 * $1) }
  }

  fileprivate mutating func set(_ value: UInt64, at offset: Int, _ count: Int) {
    for index in 0..<count { self[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
  }
}
