/// Where a job is, by the numbers of `CIM_ConcreteJob.JobState`.
public enum JobState: UInt16, Sendable {
  /// What is asked for is being checked.
  case new = 2
  case starting = 3
  case running = 4
  case completed = 7
  /// Cancelled, at a safe point.
  case terminated = 8
  /// Failed.
  case exception = 10

  public var hasEnded: Bool { rawValue >= JobState.completed.rawValue }

  /// One word; a cancelled job is called so, and a failed one.
  public var name: String {
    switch self {
    case .new: "new"
    case .starting: "starting"
    case .running: "running"
    case .completed: "completed"
    case .terminated: "cancelled"
    case .exception: "failed"
    }
  }
}
