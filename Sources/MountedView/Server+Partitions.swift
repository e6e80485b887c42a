import GuestLayout
import Storage
import Synchronization
import VirtualDisk

/// The partitions of a disk: read when they are looked at, and again when the disk may have changed since.
extension Server {
  /// Opens the disk if need be. An image that cannot be opened has none; the reason is noted. Waits.
  func partitions(of image: ImageView) -> [PartitionWindow] {
    if let known = image.knownPartitions { return known }
    do throws(ImageError) {
      let handle = try library.open(image.name, access: .read)
      let found = partitions(of: image, on: handle.disk)
      try handle.close()
      return found
    } catch {
      image.note(error)
      image.remember([])
      return []
    }
  }

  func partitions(of image: ImageView, on disk: VirtualDisk) -> [PartitionWindow] {
    // A write that comes while the table is read must make it be read again: the mark goes first.
    image.partitionsMayHaveChanged.store(false, ordering: .sequentiallyConsistent)
    do throws(ImageError) {
      let table = try PartitionTable.read(diskSize: disk.size, sectorSize: disk.logicalSectorSize) {
        (offset, length) throws(ImageError) in
        try [UInt8](unsafeUninitializedCapacity: length) { buffer, count throws(ImageError) in
          _ = try disk.read(into: UnsafeMutableRawBufferPointer(buffer), at: offset, mayWait: true)
          count = length
        }
      }
      let found = table.partitions.filter { $0.number <= NodeNumber.largestPartition }.map {
        PartitionWindow(number: $0.number, firstByte: $0.firstByte, length: $0.length)
      }
      image.remember(found)
      return found
    } catch {
      image.note(error)
      image.remember([])
      return []
    }
  }
}

extension PartitionWindow {
  /// The number that a name in `partitions` stands for: decimal, no leading zero.
  static func number(ofName name: String) -> Int? {
    guard let first = name.utf8.first, (0x31...0x39).contains(first), name.utf8.count <= 6,
      name.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(name),
      number <= NodeNumber.largestPartition
    else { return nil }
    return number
  }
}
