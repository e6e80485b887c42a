import Glibc
import LinuxSystem
import Logging
import Storage
import SystemPackage

extension MountService {
  /// Mounts as the command line asks: in the foreground, or in a process of its own.
  ///
  /// - Parameter statusDescriptor: given by `start` to the process it starts: where word of the mount is
  ///   waited for.
  public static func run(_ options: MountOptions, statusDescriptor: Int32? = nil) throws(ImageError) {
    var options = options
    options.makePathsAbsolute()
    if let statusDescriptor {
      try serveInBackground(options, StatusPipe(writing: statusDescriptor))
    } else if options.isForeground {
      try serve(options, log: Logger(label: "vhdfs", factory: { _ in TerminalLog() }))
    } else {
      try start(options)
    }
  }

  /// The process in the background: tells the one that waits when the mount is ready, or what kept it from
  /// being made.
  private static func serveInBackground(_ options: MountOptions, _ pipe: StatusPipe) throws(ImageError) {
    // Started as /proc/self/exe, it would be listed as `exe`.
    linux_name_thread("vhdfs")
    // Nothing that the caller has open, and no directory, is kept in use by this.
    linux_close_from(StatusPipe.childDescriptor + 1)
    _ = chdir("/")
    let log = Logger(label: "vhdfs", factory: { _ in SystemLog() })
    do throws(ImageError) {
      try serve(
        options, log: log,
        whenReady: {
          silenceStandardError()
          pipe.tellReady()
        })
    } catch {
      log.error("\(error.description)")
      // The one that waits says it; said here too, it would be heard twice.
      silenceStandardError()
      pipe.tell(error)
      throw error
    }
  }

  /// Until a mount is ready, what helpers of libfuse's print is for the user who waits.
  private static func silenceStandardError() {
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    guard null >= 0 else { return }
    dup2(null, STDERR_FILENO)
    close(null)
  }

  /// Starts this program again, as a session of its own, and waits until the mount is ready.
  ///
  /// Not by fork: threads and the runtime's state do not live through one.
  private static func start(_ options: MountOptions) throws(ImageError) {
    var pair: [Int32] = [-1, -1]
    guard pipe(&pair) == 0 else { throw failed("a pipe cannot be made", errno) }
    let reading = pair[0]
    let writing = pair[1]
    defer { close(reading) }
    _ = fcntl(reading, F_SETFD, FD_CLOEXEC)
    _ = fcntl(writing, F_SETFD, FD_CLOEXEC)

    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, writing, StatusPipe.childDescriptor)
    for standard in [STDIN_FILENO, STDOUT_FILENO] {
      posix_spawn_file_actions_addopen(&actions, standard, "/dev/null", O_RDWR, 0)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    let newSession: Int16 = 0x80  // POSIX_SPAWN_SETSID, a GNU extension
    posix_spawnattr_setflags(&attributes, newSession)

    // systemd spares processes whose name begins so at shutdown, until the file systems they serve are
    // unmounted.
    let words =
      ["@vhdfs", "mount", "--status-descriptor", "\(StatusPipe.childDescriptor)"] + options.commandLine
    var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for argument in argv { free(argument) } }
    var child = pid_t()
    let code = posix_spawn(&child, "/proc/self/exe", &actions, &attributes, &argv, environ)
    close(writing)
    guard code == 0 else { throw failed("this program cannot be started again", code) }
    try StatusPipe.wait(reading, for: child)
  }

  private static func failed(_ what: String, _ code: Int32) -> ImageError {
    ImageError(
      errno: Errno(rawValue: code), "the mount was not made: \(what): \(Errno(rawValue: code).description)")
  }
}

extension MountOptions {
  /// Names that do not depend on the directory in which the program was called. Links in SOURCEs are left as
  /// they are.
  mutating func makePathsAbsolute() {
    guard let buffer = getcwd(nil, 0) else { return }
    let here = FilePath(String(cString: buffer))
    free(buffer)
    func absolute(_ path: String) -> String { here.pushing(FilePath(path)).lexicallyNormalized().string }
    sources = sources.map(absolute)
    parentDirectories = parentDirectories.map(absolute)
    // A mount point is resolved, as the kernel's table shows it so; a dead mount cannot be, and stays as it
    // is.
    if let resolved = realpath(mountPoint, nil) {
      mountPoint = String(cString: resolved)
      free(resolved)
    } else {
      mountPoint = absolute(mountPoint)
    }
  }

  /// What the command `mount` understands as these options; the paths last.
  var commandLine: [String] {
    var words: [String] = []
    if isReadOnly { words.append("--read-only") }
    if allowsOthers { words += ["-o", "allow_other"] }
    if let owner { words += ["-o", "uid=\(owner)"] }
    if let group { words += ["-o", "gid=\(group)"] }
    if mask != 0 { words += ["-o", "umask=" + String(mask, radix: 8)] }
    if tracking.tracksAll { words += ["-o", "track"] }
    if tracking.isStrict { words += ["-o", "tracking=strict"] }
    if tracking.isSoleWriter { words += ["-o", "sole-writer"] }
    for directory in parentDirectories { words.append("--parents=" + directory) }
    return words + ["--"] + sources + [mountPoint]
  }
}
