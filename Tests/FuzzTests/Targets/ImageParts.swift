@testable import VHDX

/// The structures of an image that inputs are changed in.
package enum ImagePart: String, Sendable, CaseIterable {
  case vhdFooter, vhdHeader, vhdTable, vhdLocators
  case vhdxHeaders, vhdxRegions, vhdxMetadata, vhdxTable, vhdxLog
  case partitions
  case tracking
  case space
}

/// A number in a structure.
struct Field: Sendable {
  var offset: UInt64
  /// Bytes: 1, 2, 4 or 8.
  var width: Int
  var isBigEndian: Bool
}

extension SparseImage {
  func littleEndian<T: FixedWidthInteger>(_ type: T.Type = T.self, at offset: UInt64) -> T {
    bytes(at: offset, count: MemoryLayout<T>.size).withUnsafeBytes {
      T(littleEndian: $0.loadUnaligned(as: T.self))
    }
  }

  func bigEndian<T: FixedWidthInteger>(_ type: T.Type = T.self, at offset: UInt64) -> T {
    T(bigEndian: T(littleEndian: littleEndian(at: offset)))
  }

  mutating func putLittleEndian<T: FixedWidthInteger>(_ value: T, at offset: UInt64) {
    withUnsafeBytes(of: value.littleEndian) { put($0, at: offset) }
  }

  func number(_ field: Field) -> UInt64 {
    var value: UInt64 = 0
    let bytes = bytes(at: field.offset, count: field.width)
    for byte in field.isBigEndian ? bytes : bytes.reversed() { value = value << 8 | UInt64(byte) }
    return value
  }

  mutating func set(_ field: Field, to value: UInt64) {
    let bytes = (0..<field.width).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    put(field.isBigEndian ? bytes.reversed() : bytes, at: field.offset)
  }
}

// MARK: - Where the structures lie, by the word of the image, as far as it makes sense

extension SparseImage {
  /// A file that says to be a VHDX.
  var isVHDX: Bool { littleEndian(UInt64.self, at: 0) == VHDXFormat.Signature.file }

  /// Where footers are, or would be.
  var footerPlaces: [UInt64] { size >= 1024 ? [0, size - 512] : size >= 512 ? [size - 512] : [0] }

  /// Where the dynamic header is, if it can be said.
  var dynamicHeaderPlace: UInt64? {
    footerPlaces.map { bigEndian(UInt64.self, at: $0 + 16) }.first { $0 < 1 << 32 }
  }

  var vhdTablePlace: UInt64? {
    dynamicHeaderPlace.map { bigEndian(UInt64.self, at: $0 + 16) }.flatMap { $0 < 1 << 40 ? $0 : nil }
  }

  /// The place of the VHDX header that would count.
  var currentHeaderPlace: UInt64 {
    let numbers = VHDXFormat.headerOffsets.map { littleEndian(UInt64.self, at: $0 + 8) }
    return VHDXFormat.headerOffsets[numbers[1] > numbers[0] ? 1 : 0]
  }

  var logPlace: Range<UInt64>? {
    let offset: UInt64 = littleEndian(at: currentHeaderPlace + 72)
    let length = UInt64(littleEndian(UInt32.self, at: currentHeaderPlace + 68))
    return offset < 1 << 40 ? offset..<(offset + length) : nil
  }

  /// Where a region of the VHDX lies, by the first table.
  func regionPlace(_ id: [UInt8]) -> UInt64? {
    for index in 0..<UInt64(8) {
      let entry = VHDXFormat.regionTableOffsets[0] + 16 + index * 32
      guard bytes(at: entry, count: 16) == id else { continue }
      let place: UInt64 = littleEndian(at: entry + 16)
      return place < 1 << 40 ? place : nil
    }
    return nil
  }

  static let metadataID = Array(bytesOf: RegionTable.metadataID.bytes)
  static let blockTableID = Array(bytesOf: RegionTable.blockTableID.bytes)

  /// The log's sectors that begin like an entry.
  var logEntries: [UInt64] {
    guard let log = logPlace else { return [] }
    return pageNumbers.map { $0 * UInt64(SparseImage.pageSize) }.filter {
      log.contains($0) && littleEndian(UInt32.self, at: $0) == VHDXFormat.Signature.logEntry
    }
  }

  /// The numbers that make up a part.
  func fields(of part: ImagePart) -> [Field] {
    func fields(_ base: UInt64, _ places: [(UInt64, Int)], big: Bool = false) -> [Field] {
      places.compactMap { place, width in
        let (offset, overflow) = base.addingReportingOverflow(place)
        return overflow ? nil : Field(offset: offset, width: width, isBigEndian: big)
      }
    }
    switch part {
    case .tracking: return trackingFields
    case .space: return spaceFields
    case .vhdFooter:
      return footerPlaces.flatMap {
        fields(
          $0,
          [
            (8, 4), (12, 4), (16, 8), (24, 4), (28, 4), (32, 4), (40, 8), (48, 8), (56, 2), (58, 1), (59, 1),
            (60, 4),
            (68, 8), (84, 1),
          ], big: true)
      }
    case .vhdHeader:
      return dynamicHeaderPlace.map {
        fields($0, [(8, 8), (16, 8), (24, 4), (28, 4), (32, 4), (40, 8), (56, 4)], big: true)
      } ?? []
    case .vhdLocators:
      guard let header = dynamicHeaderPlace else { return [] }
      return (0..<UInt64(8)).flatMap {
        fields(header + 576 + $0 * 24, [(0, 4), (4, 4), (8, 4), (16, 8)], big: true)
      }
    case .vhdTable:
      return vhdTablePlace.map { fields($0, (0..<UInt64(48)).map { ($0 * 4, 4) }, big: true) } ?? []
    case .vhdxHeaders:
      return VHDXFormat.headerOffsets.flatMap {
        fields($0, [(0, 4), (8, 8), (16, 8), (32, 8), (48, 8), (56, 8), (64, 2), (66, 2), (68, 4), (72, 8)])
      }
    case .vhdxRegions:
      return VHDXFormat.regionTableOffsets.flatMap { table in
        fields(table, [(0, 4), (8, 4)])
          + (0..<UInt64(4)).flatMap { fields(table + 16 + $0 * 32, [(0, 8), (16, 8), (24, 4), (28, 4)]) }
      }
    case .vhdxMetadata:
      guard let region = regionPlace(SparseImage.metadataID) else { return [] }
      var result = fields(region, [(0, 8), (10, 2)])
      for index in 0..<UInt64(8) {
        let entry = region + 32 + index * 32
        result += fields(entry, [(0, 8), (16, 4), (20, 4), (24, 4)])
        let item = UInt64(littleEndian(UInt32.self, at: entry + 16))
        if item > 0 { result += fields(region + item, [(0, 4), (4, 4), (0, 8), (18, 2), (20, 4), (24, 4)]) }
      }
      return result
    case .vhdxTable:
      guard let region = regionPlace(SparseImage.blockTableID) else { return [] }
      return fields(region, (0..<UInt64(48)).map { ($0 * 8, 8) })
    case .vhdxLog:
      return logEntries.prefix(8).flatMap { entry in
        fields(entry, [(0, 4), (8, 4), (12, 4), (16, 8), (24, 4), (32, 8), (48, 8), (56, 8)])
          + (0..<UInt64(6)).flatMap {
            fields(entry + 64 + $0 * 32, [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8)])
          }
      }
    case .partitions: return partitionFields
    }
  }

  private var partitionFields: [Field] {
    func fields(_ base: UInt64, _ places: [(UInt64, Int)]) -> [Field] {
      places.map { Field(offset: base + $0.0, width: $0.1, isBigEndian: false) }
    }
    func record(_ base: UInt64) -> [Field] {
      (0..<UInt64(4)).flatMap { fields(base + 446 + $0 * 16, [(0, 1), (4, 1), (8, 4), (12, 4)]) }
        + fields(base, [(510, 2)])
    }
    var result = record(0)
    // Sectors of a chain, and GPT headers, wherever they are.
    for number in pageNumbers {
      for sector in stride(from: number * 4096, to: number * 4096 + 4096, by: 512) {
        if sector > 0, littleEndian(UInt16.self, at: sector + 510) == 0xAA55 { result += record(sector) }
        if bytes(at: sector, count: 8) == Array("EFI PART".utf8) {
          result += fields(sector, [(12, 4), (24, 8), (32, 8), (40, 8), (48, 8), (72, 8), (80, 4), (84, 4)])
          let entries: UInt64 = littleEndian(at: sector + 72)
          for base in [entries &* 512, entries &* 4096] where base < 1 << 40 {
            result += (0..<UInt64(3)).flatMap { fields(base + $0 * 128, [(0, 8), (32, 8), (40, 8)]) }
          }
        }
      }
    }
    return result
  }
}

extension [UInt8] {
  init<T>(bytesOf value: T) { self = Swift.withUnsafeBytes(of: value) { [UInt8]($0) } }
}
