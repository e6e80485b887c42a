import Storage

/// The partitions of a disk, read from bytes that may be hostile.
///
/// The rules are those of the Linux kernel (block/partitions), so that `partitions/3` is what `/dev/loop0p3` would be:
/// a GPT counts only behind a protective MBR; an MBR only where no boot sector of a file system can be meant. Windows
/// that leave the disk are cut at its end, or dropped when they begin beyond it. Overlapping partitions are all listed.
///
/// Bounds, whatever the bytes say: at most 4 MiB read for a GPT's entries, twice; at most 256 sectors of an MBR's chain.
public struct PartitionTable: Sendable {
  public enum Scheme: String, Sendable {
    case none, mbr, gpt
  }

  public var scheme: Scheme
  /// In ascending order of their numbers; each number once.
  public var partitions: [Partition]
  /// Sentences about what is doubtful in the table, without a file's name.
  public var warnings: [String]

  init(_ scheme: Scheme, _ partitions: [Partition] = [], warnings: [String] = []) {
    self.scheme = scheme
    self.partitions = partitions
    self.warnings = warnings
  }

  /// Reads the table of a disk.
  ///
  /// - Parameters:
  ///   - diskSize: bytes.
  ///   - sectorSize: the disk's logical sector size, in which tables count; for any other than 512 and 4096 the answer
  ///     is `none`.
  ///   - read: the bytes of the disk from an offset, as many as asked for; only ranges inside the disk are asked for.
  ///     Its errors pass through. An answer that is too short counts as a table that cannot be understood.
  public static func read<E: Error>(
    diskSize: UInt64, sectorSize: UInt32, read: (UInt64, Int) throws(E) -> [UInt8]
  ) throws(E) -> PartitionTable {
    let geometry = Geometry(diskSize: diskSize, sectorSize: UInt64(sectorSize))
    guard sectorSize == 512 || sectorSize == 4096, geometry.sectorCount > 0 else {
      return PartitionTable(.none)
    }
    guard let record = MasterBootRecord(try read(0, Int(sectorSize))) else { return PartitionTable(.none) }
    if record.isProtective {
      return try GUIDPartitionTable.read(geometry, read)
    }
    guard !record.looksLikeFileSystem, record.hasValidBootIndicators else { return PartitionTable(.none) }
    // A disk without a GPT behind the protective entry holds nothing that Linux would show, whichever entry it is.
    guard !record.entries.contains(where: { $0.type == MasterBootRecord.protectiveType }) else {
      return PartitionTable(
        .gpt, warnings: ["the protective MBR does not begin at sector 1, so no GPT is read"])
    }
    return try MasterBootRecord.partitions(of: record, geometry, read)
  }
}

/// A disk's measures, and windows cut to them.
struct Geometry: Sendable {
  /// Bytes.
  let diskSize: UInt64
  /// Bytes.
  let sectorSize: UInt64

  /// Whole sectors; a last part of one is no place for a table.
  var sectorCount: UInt64 { diskSize / max(sectorSize, 1) }

  /// The window of `count` sectors from `first` on, in bytes, cut at the last whole sector; nil when nothing is left.
  func window(first: UInt64, count: UInt64) -> (firstByte: UInt64, length: UInt64)? {
    guard count > 0, first < sectorCount else { return nil }
    let firstByte = first * sectorSize
    let (length, overflow) = count.multipliedReportingOverflow(by: sectorSize)
    let room = (sectorCount - first) * sectorSize
    return (firstByte, overflow ? room : min(length, room))
  }
}
