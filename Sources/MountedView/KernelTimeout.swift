import Storage

/// The kernel's limit on the time that a file system may take for one answer (Linux 6.14 and later). Where there is one,
/// the kernel cuts the whole mount off when an answer takes longer: a job must not be waited for in a write then.
///
/// The kernel fixes a mount's limit when the mount is made, and does not tell which. What is set by then counts, and what
/// is set now: one that was set in the moment between the two looks is the only one that is missed.
struct KernelTimeout {
  private let directory: String
  private let secondsAtMount: UInt64?

  /// To be made just before the mount.
  init(directory: String = "/proc/sys/fs/fuse") {
    self.directory = directory
    secondsAtMount = KernelTimeout.seconds(in: directory)
  }

  /// Seconds; nil where there is no limit. The kernel applies the smaller of the two that are set.
  static func seconds(in directory: String) -> UInt64? {
    ["default_request_timeout", "max_request_timeout"].compactMap { name in
      let text = SystemText.text(of: "\(directory)/\(name)").prefix { $0 != "\n" }
      return UInt64(text).flatMap { $0 == 0 ? nil : $0 }
    }.min()
  }

  /// Errors: `.notSupported` where there is or may be a limit.
  func failIfThereIsOne(_ image: String, _ operation: String) throws(ImageError) {
    let limits = [secondsAtMount, KernelTimeout.seconds(in: directory)].compactMap(\.self)
    guard let seconds = limits.min() else { return }
    throw ImageError(
      .notSupported,
      "\(escaped(image)): \(operation): the kernel cuts a mount off that takes longer than \(seconds) s for an answer "
        + "(\(directory)/…_request_timeout), so nobody can wait for a job in a write: add the word async, and read "
        + "control/job")
  }
}
