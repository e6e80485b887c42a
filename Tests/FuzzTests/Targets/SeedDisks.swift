@testable import GuestLayout

/// Disks with partition tables, made by hand: four primary partitions, a chain of logical ones, a GPT.
enum SeedDisks {
  static let all: [SparseImage] = [primary, logical, gpt(sectorSize: 512), gpt(sectorSize: 4096)]

  private static func record(
    _ disk: inout SparseImage, at place: UInt64, _ entries: [(type: UInt8, first: UInt32, count: UInt32)]
  ) {
    for (index, entry) in entries.enumerated() {
      let base = place + 446 + UInt64(index) * 16
      disk.put([entry.type], at: base + 4)
      disk.putLittleEndian(entry.first, at: base + 8)
      disk.putLittleEndian(entry.count, at: base + 12)
    }
    disk.put([0x55, 0xAA], at: place + 510)
  }

  private static var primary: SparseImage {
    var disk = SparseImage()
    disk.size = 64 << 20
    record(
      &disk, at: 0, [(0x83, 2048, 4096), (0x07, 8192, 4096), (0x0C, 16384, 1000), (0x82, 20000, 1 << 20)])
    return disk
  }

  private static var logical: SparseImage {
    var disk = SparseImage()
    disk.size = 64 << 20
    record(&disk, at: 0, [(0x83, 2048, 4096), (0x05, 8192, 65536)])
    for step: UInt32 in 0..<3 {
      record(
        &disk, at: UInt64(8192 + step * 4096) * 512,
        [(0x83, 63, 2000)] + (step < 2 ? [(0x05, (step + 1) * 4096, 4096)] : []))
    }
    return disk
  }

  private static func gpt(sectorSize: UInt64) -> SparseImage {
    var disk = SparseImage()
    disk.size = 64 << 20
    let last = disk.size / sectorSize - 1
    // The first operation tells the size of sectors; see the target.
    var sign = Operation(.write)
    sign.kind = sectorSize == 4096 ? 1 : 0
    disk.operations = [sign]
    record(&disk, at: 0, [(0xEE, 1, UInt32(last))])
    for (place, entries) in [(1, 2), (last, last - 40)] as [(UInt64, UInt64)] {
      let header = place * sectorSize
      disk.put(Array("EFI PART".utf8), at: header)
      disk.putLittleEndian(UInt32(0x10000), at: header + 8)
      disk.putLittleEndian(UInt32(92), at: header + 12)
      disk.putLittleEndian(place, at: header + 24)
      disk.putLittleEndian(UInt64(40), at: header + 40)
      disk.putLittleEndian(last - 50, at: header + 48)
      disk.putLittleEndian(entries, at: header + 72)
      disk.putLittleEndian(UInt32(128), at: header + 80)
      disk.putLittleEndian(UInt32(128), at: header + 84)
      for index in 0..<UInt64(3) {
        let entry = entries * sectorSize + index * 128
        disk.put([UInt8](repeating: UInt8(index + 1), count: 32), at: entry)
        disk.putLittleEndian(100 + index * 100, at: entry + 32)
        disk.putLittleEndian(180 + index * 100, at: entry + 40)
        disk.put([0x61, 0, 0x62, 0], at: entry + 56)
      }
    }
    disk.repairChecksums(of: [.partitions], deep: false)
    return disk
  }
}
