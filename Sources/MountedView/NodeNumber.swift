/// The inode numbers of a mount.
///
/// Every file of an image has a fixed place below the image's own number, so that numbers are the same as
/// long as the image is known, and a number tells what it stands for without a table. Names with a query, and files
/// that take orders, get numbers as they are looked up; a reference point gets one when it is first seen, and keeps it as
/// long as it exists.
///
///     1                       the root
///     2                       .daemon
///     3                       .jobs
///     serial << 20 | place    the files of an image; serial counts from 1
///     1 << 60 | id << 1       a job; and with the lowest bit set, the same in JSON
///     1 << 61 | counter << 3 | place    the directory and the files of a reference point
///     1 << 62 | counter       a control file with a query, or one that takes orders
struct NodeNumber: RawRepresentable, Hashable, Sendable {
  let rawValue: UInt64
  init(rawValue: UInt64) { self.rawValue = rawValue }

  static let root = NodeNumber(rawValue: 1)
  static let daemon = NodeNumber(rawValue: 2)
  static let jobs = NodeNumber(rawValue: 3)

  /// What stands at a place of an image.
  enum Place: Hashable, Sendable {
    case image, disk, partitions, control, points
    case facts(ControlFile)
    /// The number of a partition, 1 to `largestPartition`.
    case partition(Int)
  }

  static let largestPartition = (1 << 19) - 1
  private static let placeBits: UInt64 = 20
  private static let firstControlFile = 16
  private static let partitionBit = 1 << 19
  private static let queryBit: UInt64 = 1 << 62
  private static let pointBit: UInt64 = 1 << 61
  private static let jobBit: UInt64 = 1 << 60
  private static let pointPlaceBits: UInt64 = 3

  init(image serial: UInt64, _ place: Place) {
    let number: Int
    switch place {
    case .image: number = 0
    case .disk: number = 1
    case .partitions: number = 2
    case .control: number = 3
    case .points: number = 4
    case .facts(let file): number = NodeNumber.firstControlFile + file.code
    case .partition(let index): number = NodeNumber.partitionBit | index
    }
    rawValue = serial << NodeNumber.placeBits | UInt64(number)
  }

  init(query counter: UInt64) { rawValue = NodeNumber.queryBit | counter }

  init(point counter: UInt64, _ place: PointPlace) {
    rawValue = NodeNumber.pointBit | counter << NodeNumber.pointPlaceBits | UInt64(place.rawValue)
  }

  init(job id: UInt64, asJSON: Bool) { rawValue = NodeNumber.jobBit | id << 1 | (asJSON ? 1 : 0) }

  var isJob: Bool { rawValue & NodeNumber.jobBit != 0 && !isQuery && !isPoint }

  /// Which job it shows; for a node of one only.
  var jobID: UInt64 { (rawValue & ~NodeNumber.jobBit) >> 1 }

  var isPoint: Bool { rawValue & NodeNumber.pointBit != 0 && !isQuery }

  /// Which point it belongs to; for a node of one only.
  var pointCounter: UInt64 { (rawValue & ~NodeNumber.pointBit) >> NodeNumber.pointPlaceBits }

  /// Nil for what is no node of a point.
  var pointPlace: PointPlace? {
    isPoint ? PointPlace(rawValue: UInt8(rawValue & (1 << NodeNumber.pointPlaceBits - 1))) : nil
  }

  var isQuery: Bool { rawValue & NodeNumber.queryBit != 0 }

  /// The image's serial number; 0 where the node belongs to none.
  var serial: UInt64 { isQuery || isPoint || isJob ? 0 : rawValue >> NodeNumber.placeBits }

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
    case 4: return .points
    default:
      guard number >= NodeNumber.firstControlFile,
        let file = ControlFile(code: number - NodeNumber.firstControlFile)
      else { return nil }
      return .facts(file)
    }
  }
}
