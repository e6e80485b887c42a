import Storage

/// One partition of a disk. Its window [firstByte, firstByte + length) lies inside the disk and is not empty.
public struct Partition: Sendable, Equatable {
  /// What Linux calls it: `/dev/sdaN`. Primary MBR partitions are 1 to 4, logical ones count from 5 in the order of
  /// their chain; a GPT partition is its entry's place, from 1.
  public var number: Int
  /// Bytes from the start of the disk.
  public var firstByte: UInt64
  /// Bytes, at least 1.
  public var length: UInt64
  public var type: PartitionType
  /// GPT only: the name as stored, up to its first NUL; not escaped. Ill-formed UTF-16 becomes U+FFFD.
  public var name: String
  /// GPT only: the partition's own id.
  public var identifier: GUID?
  /// An MBR partition that only holds logical ones. Its window is two sectors of 512 bytes, or one larger sector, as
  /// Linux shows it: enough for a boot loader, too little to write over the partitions inside by accident.
  public var isContainer: Bool

  public init(
    number: Int, firstByte: UInt64, length: UInt64, type: PartitionType, name: String = "",
    identifier: GUID? = nil, isContainer: Bool = false
  ) {
    self.number = number
    self.firstByte = firstByte
    self.length = length
    self.type = type
    self.name = name
    self.identifier = identifier
    self.isContainer = isContainer
  }
}

/// What a table says that a partition is for.
public enum PartitionType: Sendable, Hashable, CustomStringConvertible {
  case mbr(UInt8)
  case gpt(GUID)

  /// `0x83` or the GUID in lower case.
  public var description: String {
    switch self {
    case .mbr(let byte): (byte < 16 ? "0x0" : "0x") + String(byte, radix: 16)
    case .gpt(let guid): guid.description
    }
  }
}
