/// The logical partitions of an MBR disk: chains of sectors like an MBR, each with a partition and a link to the next.
///
/// Offsets of partitions count from their own sector, those of links from the start of the extended partition. Each
/// sector is looked at once, so a loop ends where it closes; at most `limit` are looked at.
struct ExtendedPartitions {
  /// The highest number that Linux gives, and the most sectors that are read.
  static let limit = 256

  let geometry: Geometry
  private(set) var partitions: [Partition] = []
  private(set) var warnings: [String] = []
  private var nextNumber = 5
  private var seen: Set<UInt64> = []

  init(geometry: Geometry) { self.geometry = geometry }

  /// Follows the chain that begins at the extended partition `container`, to its end or to what makes no sense.
  mutating func follow<E: Error>(
    _ container: MasterBootRecord.Entry, _ read: (UInt64, Int) throws(E) -> [UInt8]
  ) throws(E) {
    var place = container.first
    var size = container.count
    while place < geometry.sectorCount {
      guard seen.count < ExtendedPartitions.limit, nextNumber < ExtendedPartitions.limit else {
        warnings.append("the chain of logical partitions is longer than \(ExtendedPartitions.limit)")
        return
      }
      guard seen.insert(place).inserted else {
        warnings.append("the chain of logical partitions runs in a loop at sector \(place)")
        return
      }
      guard let record = MasterBootRecord(try read(place * geometry.sectorSize, Int(geometry.sectorSize)))
      else {
        return
      }
      for (index, entry) in record.entries.enumerated() where entry.count > 0 && !entry.isExtended {
        // The third and fourth entries are often garbage: believed only where they lie inside.
        let first = place + entry.first
        let isInside =
          entry.first + entry.count <= size && first >= container.first
          && first + entry.count <= container.first + container.count
        if index < 2 || isInside { add(entry, first: first) }
      }
      guard let link = record.entries.first(where: { $0.isExtended }) else { return }
      place = container.first + link.first
      size = link.count
    }
    warnings.append("the chain of logical partitions leaves the disk")
  }

  /// A number is used up by a partition that lies outside, too, as in Linux.
  private mutating func add(_ entry: MasterBootRecord.Entry, first: UInt64) {
    guard nextNumber < ExtendedPartitions.limit else { return }
    let number = nextNumber
    nextNumber += 1
    guard let window = geometry.window(first: first, count: entry.count) else {
      warnings.append("partition \(number) begins beyond the end of the disk")
      return
    }
    partitions.append(
      Partition(
        number: number, firstByte: window.firstByte, length: window.length, type: .mbr(entry.type)))
  }
}
