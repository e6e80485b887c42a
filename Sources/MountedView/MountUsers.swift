import Glibc
import Storage

/// Who keeps a mount from being unmounted, as far as this user may know.
///
/// Found by names and not by asking the files themselves: a mount whose server hangs would not answer.
enum MountUsers {
  /// Sentences' parts: `ext4 on /mnt/data`, `/dev/loop0`, `bash (process 12)`; each once.
  static func of(_ mountPoint: String) -> [String] {
    loopDevices(mountPoint) + mounts(mountPoint) + processes(mountPoint)
  }

  private static func isInside(_ path: String, _ mountPoint: String) -> Bool {
    path == mountPoint || path.hasPrefix(mountPoint + "/")
  }

  private static func loopDevices(_ mountPoint: String) -> [String] {
    SystemText.names(in: "/sys/block").filter { $0.hasPrefix("loop") }.sorted().compactMap { name in
      let file = SystemText.text(of: "/sys/block/\(name)/loop/backing_file")
      guard isInside(String(file.prefix { $0 != "\n" }), mountPoint) else { return nil }
      let mounted = MountTable.entries.filter {
        $0.source == "/dev/\(name)" || $0.source.hasPrefix("/dev/\(name)p")
      }
      let places = mounted.map { ", mounted on \(escaped($0.mountPoint))" }.joined()
      return "/dev/\(name)" + places
    }
  }

  private static func mounts(_ mountPoint: String) -> [String] {
    MountTable.entries.filter { $0.mountPoint.hasPrefix(mountPoint + "/") }
      .map { "\($0.type) mounted on \(escaped($0.mountPoint))" }
  }

  private static func processes(_ mountPoint: String) -> [String] {
    SystemText.names(in: "/proc").compactMap(Int32.init).sorted().compactMap { process in
      guard process != getpid(), uses(process, mountPoint) else { return nil }
      let name = SystemText.text(of: "/proc/\(process)/comm").prefix { $0 != "\n" }
      return "\(escaped(String(name))) (process \(process))"
    }
  }

  private static func uses(_ process: Int32, _ mountPoint: String) -> Bool {
    let folder = "/proc/\(process)"
    for link in ["cwd", "root", "exe"] {
      if let target = SystemText.target(ofLink: "\(folder)/\(link)"), isInside(target, mountPoint) {
        return true
      }
    }
    for name in SystemText.names(in: folder + "/fd") {
      if let target = SystemText.target(ofLink: "\(folder)/fd/\(name)"), isInside(target, mountPoint) {
        return true
      }
    }
    return SystemText.text(of: folder + "/maps").split(separator: "\n").contains { line in
      guard let slash = line.firstIndex(of: "/") else { return false }
      return isInside(String(line[slash...]), mountPoint)
    }
  }
}
