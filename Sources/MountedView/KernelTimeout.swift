import Storage

/// The kernel's limit on the time that a file system may take for one answer (Linux 6.14 and later). Where there is one,
/// the kernel cuts the whole mount off when an answer takes longer: a job must not be waited for in a write then.
enum KernelTimeout {
  static let directory = "/proc/sys/fs/fuse"

  /// Seconds; nil where there is no limit. The kernel applies the smaller of the two that are set.
  static func seconds(in directory: String = directory) -> UInt64? {
    ["default_request_timeout", "max_request_timeout"].compactMap { name in
      let text = SystemText.text(of: "\(directory)/\(name)").prefix { $0 != "\n" }
      return UInt64(text).flatMap { $0 == 0 ? nil : $0 }
    }.min()
  }

  /// Errors: `.notSupported` where there is a limit.
  static func failIfThereIsOne(
    _ image: String, _ operation: String, in directory: String = directory
  ) throws(ImageError) {
    guard let seconds = seconds(in: directory) else { return }
    throw ImageError(
      .notSupported,
      "\(escaped(image)): \(operation): the kernel cuts a mount off that takes longer than \(seconds) s for an answer "
        + "(\(directory)/…_request_timeout), so nobody can wait for a job in a write: add the word async, and read "
        + "control/job")
  }
}
