import Glibc

/// The program under test: VHDFS_PROGRAM, else the one built beside the tests.
public enum Vhdfs {
  public static let program: String = {
    if let named = getenv("VHDFS_PROGRAM").map({ String(cString: $0) }) { return named }
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    let path = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let built = path[..<(path.lastIndex(of: "/") ?? path.startIndex)] + "/vhdfs"
    if fileExists(String(built)) { return String(built) }
    // Run by a helper of the toolchain: the build directory is below the package.
    let package = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    return "/\(package)/.build/debug/vhdfs"
  }()

  /// Runs `vhdfs WORDS…`.
  public static func run(_ words: [String], timeout: Double = 60) throws -> ProgramResult {
    try TestSupport.run([program] + words, timeout: timeout)
  }

  /// Runs `vhdfs WORDS…`, which must succeed.
  @discardableResult
  public static func runChecked(_ words: [String], timeout: Double = 60) throws -> String {
    try TestSupport.runChecked([program] + words, timeout: timeout)
  }

  /// Makes an image: `vhdfs create --type … FILE` with these options.
  public static func create(_ path: String, _ options: [String]) throws {
    try runChecked(["create"] + options + [path])
  }
}

/// A mount of vhdfs, served in the foreground by a process of its own; unmounted at the end, whatever happens.
public final class VhdfsMount {
  public let path: String
  public let server: RunningProgram
  /// What must not go before the mount does: the directory of the images.
  private let keeping: AnyObject?
  /// Ended in order: the path may be another mount's by now.
  private var hasEnded = false

  /// Mounts, and waits until the mount is there. `wrapper` is a program that becomes the server, as prlimit(1) does.
  public init(
    _ sources: [String], at path: String, _ options: [String] = [], keeping: AnyObject? = nil,
    under wrapper: [String] = []
  ) throws {
    self.path = path
    self.keeping = keeping
    let before = VhdfsMount.device(of: path)
    server = try RunningProgram(wrapper + [Vhdfs.program, "mount", "-f"] + options + sources + [path])
    let server = server
    let isThere = eventually(within: 20) { !server.isRunning || VhdfsMount.device(of: path) != before }
    guard isThere, server.isRunning else {
      let result = server.wait(timeout: 0)
      throw TestFailure("no mount at \(path): \(result.summary)")
    }
  }

  deinit {
    if hasEnded { return }
    if server.isRunning {
      _ = try? run(["umount", "-l", path])
      server.wait(timeout: 10)
    }
    if VhdfsMount.isMountPoint(path) { _ = try? run(["umount", "-l", path]) }
  }

  /// A file of one image: `file("a.vhdx", "control/info")`.
  public func file(_ image: String, _ name: String = "disk") -> String { "\(path)/\(image)/\(name)" }

  /// The text of a file of the mount.
  public func text(_ image: String, _ name: String) throws -> String { try textOfFile(file(image, name)) }

  /// The value of one key of `control/info`.
  public func fact(_ key: String, of image: String) throws -> String? {
    try text(image, "control/info").split(separator: "\n").first { $0.hasPrefix("\(key) ") }
      .map { String($0.dropFirst(key.count + 1)) }
  }

  /// Unmounts and waits until the server has ended, cleanly.
  public func unmount(timeout: Double = 60) throws {
    var result = try run(["umount", path], timeout: timeout)
    // Programs that other tests start at this moment hold copies of our descriptors until they have become
    // themselves: a file of the mount may seem open for an instant.
    for _ in 0..<20 where result.errors.contains("target is busy") {
      usleep(100_000)
      result = try run(["umount", path], timeout: timeout)
    }
    guard result.succeeded else { throw TestFailure(result.summary) }
    hasEnded = true
    result = server.wait(timeout: timeout)
    guard result.succeeded else { throw TestFailure("the server did not end cleanly: \(result.summary)") }
  }

  /// Kills the server without warning and clears the dead mount away.
  public func kill() throws {
    server.signal(SIGKILL)
    server.wait(timeout: 30)
    // umount(8) may call a helper for which the mount is gone already: ask the kernel alone.
    try runChecked(["umount", "-i", "-l", path])
    hasEnded = true
  }

  private static func device(of path: String) -> dev_t? {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_dev : nil
  }

  /// Whether something is mounted there, dead or alive.
  public static func isMountPoint(_ path: String) -> Bool {
    guard let table = try? textOfFile("/proc/self/mountinfo") else { return false }
    return table.split(separator: "\n").contains {
      $0.split(separator: " ").dropFirst(4).first.map(String.init) == path
    }
  }
}
