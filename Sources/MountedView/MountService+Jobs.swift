extension MountService {
  /// The numbers of the jobs that a mount shows, ascending; none where it cannot be asked.
  public static func jobs(of mountPoint: String) -> [UInt64] {
    SystemText.names(in: mountPoint + "/" + Tree.jobsName).compactMap { UInt64($0) }.sorted()
  }
}
