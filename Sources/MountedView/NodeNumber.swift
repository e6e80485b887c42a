/// The inode numbers of a mount.
///
/// Every file of an image has a fixed place below the image's own number, so that numbers are the same as
/// long as the image is known, and a number tells what it stands for without a table. Names with a query get
/// numbers as they are looked up.
///
///     1                       the root
///     2                       .daemon
///     serial << 20 | place    the files of an image; serial counts from 1
///     1 << 62 | counter       a control file with a query
struct NodeNumber: RawRepresentable, Hashable, Sendable {
  let rawValue: UInt64
  init(rawValue: UInt64) { self.rawValue = rawValue }

  static let root = NodeNumber(rawValue: 1)
  static let daemon = NodeNumber(rawValue: 2)

  /// What stands at a place of an image.
  enum Place: Hashable, Sendable {
    case image, disk, partitions, control
    case facts(ControlFile)
    /// The number of a partition, 1 to `largestPartition`.
    case partition(Int)
  }

  static let largestPartition = (1 << 19) - 1
  private static let placeBits: UInt64 = 20
  private static let firstControlFile = 16
  private static let partitionBit = 1 << 19
  private static let queryBit: UInt64 = 1 << 62

  init(image serial: UInt64, _ place: Place) {
    let number: Int
    switch place {
    case .image: number = 0
    case .disk: number = 1
    case .partitions: number = 2
    case .control: number = 3
    case .facts(let file): number = NodeNumber.firstControlFile + Int(file.rawValue)
    case .partition(let index): number = NodeNumber.partitionBit | index
    }
    rawValue = serial << NodeNumber.placeBits | UInt64(number)
  }

  init(query counter: UInt64) { rawValue = NodeNumber.queryBit | counter }

  var isQuery: Bool { rawValue & NodeNumber.queryBit != 0 }

  /// The image's serial number; 0 where the node belongs to none.
  var serial: UInt64 { isQuery ? 0 : rawValue >> NodeNumber.placeBits }

  /// Nil for what is no place of an image.
  var place: Place? {
    guard serial != 0 else { return nil }
    let number = Int(rawValue & (1 << NodeNumber.placeBits - 1))
    if number & NodeNumber.partitionBit != 0 { return .partition(number & ~NodeNumber.partitionBit) }
    switch number {
    case 0: return .image
    case 1: return .disk
    case 2: return .partitions
    case 3: return .control
    default:
      guard number >= NodeNumber.firstControlFile,
        let file = ControlFile(rawValue: UInt8(truncatingIfNeeded: number - NodeNumber.firstControlFile))
      else { return nil }
      return .facts(file)
    }
  }
}
