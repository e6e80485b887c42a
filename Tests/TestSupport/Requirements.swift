import Glibc
import Testing

/// What the machine offers to tests.
public enum Machine {
  /// Why mounts cannot be tested here, or nil.
  public static let mountObstacle: String? = {
    if access("/dev/fuse", R_OK | W_OK) != 0 { return "no access to /dev/fuse" }
    if geteuid() != 0 { return "not root" }
    return nil
  }()

  /// Why loop devices cannot be tested here, or nil.
  public static let loopObstacle: String? =
    mountObstacle ?? (access("/dev/loop-control", R_OK | W_OK) == 0 ? nil : "no access to /dev/loop-control")
}

extension Trait where Self == ConditionTrait {
  /// The test mounts something, with root's rights.
  public static var requiresMount: Self {
    .enabled(if: Machine.mountObstacle == nil, "skipped: \(Machine.mountObstacle ?? "")")
  }

  /// The test needs a loop device.
  public static var requiresLoopDevice: Self {
    .enabled(if: Machine.loopObstacle == nil, "skipped: \(Machine.loopObstacle ?? "")")
  }

  /// The test reads images of the corpus.
  public static var requiresCorpus: Self {
    .enabled(if: Corpus.directory != nil, "skipped: \(Corpus.missing)")
  }

  /// The test needs a file that a package brings along.
  public static func requiresFile(_ path: String) -> Self {
    .enabled(if: access(path, R_OK) == 0, "skipped: not installed: \(path)")
  }

  /// The test needs these programs in PATH.
  public static func requiresPrograms(_ programs: String...) -> Self {
    let missing = programs.filter { !isInstalled($0) }
    return .enabled(if: missing.isEmpty, "skipped: not installed: \(missing.joined(separator: ", "))")
  }
}
