import SystemPackage

/// What an operation answers: the return values of `Msvm_ImageManagementService`.
///
/// Each has one errno by which a control file or a system call reports it (see `usualErrno`).
public struct ReturnValue: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// 0: done.
  public static let completed = ReturnValue(rawValue: 0)
  /// 4096: checked and started; a job goes on.
  public static let jobStarted = ReturnValue(rawValue: 4096)
  /// 32768: failed for a reason that no other value names.
  public static let failed = ReturnValue(rawValue: 32768)
  /// 32769: the caller may not do this.
  public static let accessDenied = ReturnValue(rawValue: 32769)
  /// 32770: this format, type or host cannot do it.
  public static let notSupported = ReturnValue(rawValue: 32770)
  /// 32771: it is not known whether it was done.
  public static let unknown = ReturnValue(rawValue: 32771)
  /// 32772: it took longer than was asked for.
  public static let timeout = ReturnValue(rawValue: 32772)
  /// 32773: a word or number is not one that is understood here.
  public static let invalidParameter = ReturnValue(rawValue: 32773)
  /// 32774: somebody else uses the image.
  public static let inUse = ReturnValue(rawValue: 32774)
  /// 32775: the image is in a state in which this cannot be done.
  public static let invalidState = ReturnValue(rawValue: 32775)
  /// 32776: the file's contents are not what the format demands.
  public static let wrongDataType = ReturnValue(rawValue: 32776)
  /// 32777: not now.
  public static let notAvailable = ReturnValue(rawValue: 32777)
  /// 32778: memory ran out.
  public static let outOfMemory = ReturnValue(rawValue: 32778)
  /// 32779: a file does not exist.
  public static let fileNotFound = ReturnValue(rawValue: 32779)
  /// 32787: the chain of parents comes back to itself.
  public static let chainHasCycle = ReturnValue(rawValue: 32787)
  /// 32789: a point, snapshot or other object does not exist.
  public static let objectNotFound = ReturnValue(rawValue: 32789)

  /// The errno that stands for this value where only an errno can be given.
  public var usualErrno: Errno {
    switch self {
    case .completed, .jobStarted: Errno(rawValue: 0)
    case .accessDenied: .permissionDenied
    case .notSupported: Errno(rawValue: 95)  // EOPNOTSUPP
    case .unknown: Errno(rawValue: 121)  // EREMOTEIO
    case .timeout: Errno(rawValue: 110)  // ETIMEDOUT
    case .invalidParameter: .invalidArgument
    case .inUse: .resourceBusy
    case .invalidState: .notPermitted
    case .wrongDataType: Errno(rawValue: 74)  // EBADMSG
    case .notAvailable: .resourceTemporarilyUnavailable
    case .outOfMemory: .noMemory
    case .fileNotFound: .noSuchFileOrDirectory
    case .chainHasCycle: .tooManySymbolicLinkLevels
    case .objectNotFound: Errno(rawValue: 6)  // ENXIO
    default: .ioError
    }
  }

  /// The value that stands for an errno that the system gave.
  public init(errno: Errno) {
    switch errno {
    case .permissionDenied: self = .accessDenied
    case .notPermitted, .readOnlyFileSystem: self = .invalidState
    case .resourceBusy: self = .inUse
    case .invalidArgument: self = .invalidParameter
    case .resourceTemporarilyUnavailable: self = .notAvailable
    case .noMemory: self = .outOfMemory
    case .noSuchFileOrDirectory, .notDirectory: self = .fileNotFound
    case .tooManySymbolicLinkLevels: self = .chainHasCycle
    case Errno(rawValue: 95): self = .notSupported
    case Errno(rawValue: 110): self = .timeout
    case Errno(rawValue: 121): self = .unknown
    case Errno(rawValue: 74): self = .wrongDataType
    default: self = .failed
    }
  }
}
