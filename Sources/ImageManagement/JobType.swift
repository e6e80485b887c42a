/// What a job does, by the numbers of `Msvm_StorageJob.JobType`.
///
/// Of what Hyper-V has no number for, setting a parent, an identity or optimising a set, the number is 0.
public struct JobType: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let other = JobType(rawValue: 0)
  public static let creation = JobType(rawValue: 1)
  public static let compaction = JobType(rawValue: 3)
  public static let expansion = JobType(rawValue: 4)
  public static let merging = JobType(rawValue: 5)
  public static let conversion = JobType(rawValue: 6)
  public static let validation = JobType(rawValue: 9)

  /// One word.
  public var name: String {
    switch self {
    case .creation: "creation"
    case .compaction: "compaction"
    case .expansion: "expansion"
    case .merging: "merging"
    case .conversion: "conversion"
    case .validation: "validation"
    default: "other"
    }
  }
}
