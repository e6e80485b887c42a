import Glibc

/// A loop device over a file, given back at the end.
public final class LoopDevice {
  /// `/dev/loopN`.
  public let path: String
  private var isAttached = true

  /// - Parameter options: more words for losetup, as `["-P", "--direct-io=on", "-b", "4096"]`.
  public init(_ file: String, _ options: [String] = []) throws {
    // The first free device may be taken by somebody else between the look and the use: try again.
    var last = ProgramResult.nothing
    for _ in 0..<5 {
      last = try run(["losetup", "-f", "--show"] + options + [file], timeout: 30)
      if last.succeeded { break }
      usleep(100_000)
    }
    guard last.succeeded else { throw TestFailure(last.summary) }
    path = String(last.output.prefix { $0 != "\n" })
  }

  deinit { try? detach() }

  /// Tells the kernel of the partitions, where it does not know the table's scheme by itself.
  ///
  /// A partition that the kernel refuses (the container of logical ones) does not matter.
  public func addPartitions() { _ = try? run(["partx", "-a", path]) }

  /// The device of a partition; waits until it is there.
  public func partition(_ number: Int) throws -> String {
    let name = "\(path)p\(number)"
    if fileExists(name) { return name }
    addPartitions()
    guard eventually(within: 5, { fileExists(name) }) else { throw TestFailure("\(name) did not appear") }
    return name
  }

  /// What the kernel knows of a partition, in bytes; nil where there is none.
  public func kernelPartition(_ number: Int) -> (firstByte: UInt64, length: UInt64)? {
    let device = path.split(separator: "/").last.map(String.init) ?? ""
    func value(_ name: String) -> UInt64? {
      (try? textOfFile("/sys/class/block/\(device)p\(number)/\(name)")).flatMap {
        UInt64($0.prefix { $0.isNumber })
      }
    }
    guard let start = value("start"), let size = value("size") else { return nil }
    return (start * 512, size * 512)
  }

  /// Gives the device back and waits until the kernel has let go of the file.
  public func detach() throws {
    guard isAttached else { return }
    try runChecked(["losetup", "-d", path], timeout: 30)
    isAttached = false
    let device = path.split(separator: "/").last.map(String.init) ?? ""
    _ = eventually(within: 10) { !fileExists("/sys/block/\(device)/loop/backing_file") }
  }
}

extension ProgramResult {
  static let nothing = ProgramResult(
    command: "", status: -1, output: "", errors: "", seconds: 0, peakMemory: 0, timedOut: false)
}

/// A file system of a block device that is mounted for a while.
public final class MountedFileSystem {
  public let path: String
  private var isMounted = true

  public init(_ device: String, at path: String, _ options: [String] = []) throws {
    self.path = path
    try runChecked(["mount"] + options + [device, path], timeout: 60)
  }

  deinit { if isMounted { _ = try? run(["umount", "-l", path]) } }

  public func unmount() throws {
    guard isMounted else { return }
    try runChecked(["umount", path], timeout: 120)
    isMounted = false
  }
}
