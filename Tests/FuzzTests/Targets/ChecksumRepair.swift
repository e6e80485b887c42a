import Storage

@testable import GuestLayout
@testable import VHD
@testable import VHDX

/// Makes checksums right that a change has made wrong: without that hardly an input would get beyond the first look.
extension SparseImage {
  mutating func repairChecksums(of parts: Set<ImagePart>, deep: Bool) {
    if parts.contains(.vhdFooter), !isVHDX {
      for place in footerPlaces where bigEndian(UInt64.self, at: place) == Footer.cookie {
        repair(place, Footer.length) { VHD.Checksum.store(in: $0, field: Footer.checksumField) }
      }
    }
    if !parts.isDisjoint(with: [.vhdHeader, .vhdLocators]), !isVHDX, let place = dynamicHeaderPlace,
      bigEndian(UInt64.self, at: place) == DynamicHeader.cookie
    {
      repair(place, DynamicHeader.length) { VHD.Checksum.store(in: $0, field: DynamicHeader.checksumField) }
    }
    if parts.contains(.vhdxLog), deep { repairLog() }
    if !parts.isDisjoint(with: [.vhdxHeaders, .vhdxLog]) {
      for place in VHDXFormat.headerOffsets
      where littleEndian(UInt32.self, at: place) == VHDXFormat.Signature.header {
        repair(place, Header.size) { SparseImage.storeCRC32C($0) }
      }
    }
    if parts.contains(.vhdxRegions) {
      for place in VHDXFormat.regionTableOffsets
      where littleEndian(UInt32.self, at: place) == VHDXFormat.Signature.regionTable {
        repair(place, VHDXFormat.regionTableSize) { SparseImage.storeCRC32C($0) }
      }
    }
    if parts.contains(.vhdxLog) { repairLogChecksums() }
    if parts.contains(.partitions) { repairPartitionTables() }
    if parts.contains(.space), deep { repairExtChecksums() }
    if parts.contains(.tracking) { repairTrackingChecksums() }
  }

  private mutating func repair(
    _ place: UInt64, _ length: Int, _ store: (UnsafeMutableRawBufferPointer) -> Void
  ) {
    var bytes = bytes(at: place, count: length)
    bytes.withUnsafeMutableBytes { store($0) }
    put(bytes, at: place)
  }

  private static func storeCRC32C(_ bytes: UnsafeMutableRawBufferPointer) {
    bytes.storeLittleEndian(VHDX.Checksum.of(UnsafeRawBufferPointer(bytes), zeroingFieldAt: 4), at: 4)
  }

  /// Gives entries what makes them whole: the header's GUID, signatures, and their number in all their parts.
  private mutating func repairLog() {
    guard let log = logPlace else { return }
    let guid = bytes(at: currentHeaderPlace + 48, count: 16)
    for entry in logEntries.prefix(16) {
      put(guid, at: entry + 32)
      let number: UInt64 = littleEndian(at: entry + 16)
      let count = min(littleEndian(UInt32.self, at: entry + 24), 400)
      var dataSectors: UInt64 = 0
      for index in 0..<UInt64(count) {
        let descriptor = entry + 64 + index * 32
        guard log.contains(descriptor) else { break }
        let signature: UInt32 = littleEndian(at: descriptor)
        if signature == VHDXFormat.Signature.dataDescriptor { dataSectors += 1 }
        putLittleEndian(number, at: descriptor + 24)
        for field in [descriptor + 16] {
          putLittleEndian(littleEndian(UInt64.self, at: field) & ~4095, at: field)
        }
      }
      let descriptorSectors = UInt64(LogWriter.descriptorSectors(Int(count)))
      for index in 0..<min(dataSectors, 200) {
        let sector = entry + (descriptorSectors + index) * 4096
        guard log.contains(sector) else { break }
        putLittleEndian(VHDXFormat.Signature.dataSector, at: sector)
        putLittleEndian(UInt32(number >> 32), at: sector + 4)
        putLittleEndian(UInt32(truncatingIfNeeded: number), at: sector + 4092)
      }
      putLittleEndian(UInt32((descriptorSectors + dataSectors) * 4096), at: entry + 8)
    }
  }

  private mutating func repairLogChecksums() {
    guard let log = logPlace else { return }
    for entry in logEntries.prefix(16) {
      let length = littleEndian(UInt32.self, at: entry + 8)
      // An entry may go round the end of the log.
      guard length >= 4096, length <= 2 << 20, UInt64(length) <= log.upperBound - log.lowerBound else {
        continue
      }
      let first = Int(min(UInt64(length), log.upperBound - entry))
      var bytes = bytes(at: entry, count: first) + bytes(at: log.lowerBound, count: Int(length) - first)
      bytes.withUnsafeMutableBytes { SparseImage.storeCRC32C($0) }
      put(Array(bytes[4..<8]), at: entry + 4)
    }
  }

  private mutating func repairPartitionTables() {
    for number in pageNumbers {
      for sector in stride(from: number * 4096, to: number * 4096 + 4096, by: 512)
      where bytes(at: sector, count: 8) == Array("EFI PART".utf8) {
        let sectorSize: UInt64 = operations.first.map { $0.kind & 1 == 1 } ?? false ? 4096 : 512
        let (count, size): (UInt32, UInt32) = (littleEndian(at: sector + 80), littleEndian(at: sector + 84))
        let (length, overflow) = count.multipliedReportingOverflow(by: size)
        let place = littleEndian(UInt64.self, at: sector + 72) &* sectorSize
        if !overflow, length <= 1 << 20 {
          putLittleEndian(GUIDPartitionTable.crc32(bytes(at: place, count: Int(length))), at: sector + 88)
        }
        let headerSize = Int(min(max(littleEndian(UInt32.self, at: sector + 12), 20), 4096))
        var header = bytes(at: sector, count: headerSize)
        header.replaceSubrange(16..<20, with: [0, 0, 0, 0])
        putLittleEndian(GUIDPartitionTable.crc32(header), at: sector + 16)
      }
    }
  }
}
