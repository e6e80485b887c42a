import Glibc
import LinuxSystem
import Storage
import SystemPackage

/// Taking a mount out of the file tree.
enum Unmounting {
  /// Unmounts what is on `path`, an absolute path; by fusermount3 where the user is not root.
  ///
  /// With `lazily`, what is still in use goes on until its last user has gone.
  static func unmount(_ path: String, lazily: Bool = false) throws(ImageError) {
    let plain = attempt(path, lazily: false)
    guard plain != 0 else { return }
    guard lazily, plain == EBUSY || geteuid() != 0 else { throw failed(path, plain) }
    let lazy = attempt(path, lazily: true)
    if lazy != 0 { throw failed(path, lazy) }
  }

  /// The errno; EBUSY for any failure of fusermount3, which tells no errno.
  private static func attempt(_ path: String, lazily: Bool) -> Int32 {
    if geteuid() == 0 {
      let noFollow = Int32(8)  // UMOUNT_NOFOLLOW
      let detach = Int32(2)  // MNT_DETACH
      return linux_unmount(path, lazily ? noFollow | detach : noFollow) == 0 ? 0 : errno
    }
    return run("fusermount3", lazily ? ["-u", "-z", "-q", "--", path] : ["-u", "-q", "--", path]) == 0
      ? 0 : EBUSY
  }

  private static func failed(_ path: String, _ code: Int32) -> ImageError {
    let cause = Errno(rawValue: code)
    return ImageError(errno: cause, "\(escaped(path)): cannot be unmounted: \(cause.description)")
  }

  /// Runs a program and waits for it; its exit status, or -1 when it could not be run or was killed.
  private static func run(_ program: String, _ arguments: [String]) -> Int32 {
    var pid = pid_t()
    var argv: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
    defer { for argument in argv { free(argument) } }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // The helper must not inherit the blocked signals.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    guard posix_spawnp(&pid, program, nil, &attributes, &argv, environ) == 0 else { return -1 }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    return status & 0x7F == 0 ? (status >> 8) & 0xFF : -1
  }
}
