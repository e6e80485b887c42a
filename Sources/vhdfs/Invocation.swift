/// How the program was called: by its own name, or by mount(8) and umount(8) through a link that bears the helper's.
///
/// mount(8) runs `mount.vhdfs SOURCE DIRECTORY [-sfnv] [-o OPTIONS] [-N NAMESPACE] [-t TYPE]`; umount(8) runs
/// `umount.fuse.vhdfs DIRECTORY [-flnrv] [-N NAMESPACE] [-t TYPE]`.
struct Invocation {
  enum Helper { case mount, unmount }

  let helper: Helper?
  /// mount(8) was asked to do everything but the mount itself (`mount -f`).
  let isFake: Bool
  /// For the parser, without the program's name.
  let arguments: [String]

  init(_ commandLine: [String]) {
    let name = commandLine.first?.split(separator: "/").last ?? ""
    let rest = Array(commandLine.dropFirst())
    switch name {
    case "mount.vhdfs", "mount.fuse.vhdfs":
      helper = .mount
      isFake = rest.contains { $0.hasPrefix("-") && !$0.hasPrefix("--") && $0.contains("f") }
      arguments = ["mount"] + Invocation.withoutHelperOptions(rest, flags: "sfnv")
    case "umount.vhdfs", "umount.fuse.vhdfs":
      helper = .unmount
      isFake = false
      arguments = ["unmount"] + Invocation.withoutHelperOptions(rest, flags: "fnrv")
    default:
      helper = nil
      isFake = false
      arguments = rest
    }
  }

  /// mount(8) passes its helper's status on, and documents its own: 1 for a wrong call, 32 for a failure.
  func status(for status: ExitStatus) -> Int32 {
    guard helper != nil, status != .done else { return status.rawValue }
    return status == .usage ? 1 : 32
  }

  /// Leaves out what only mount(8) and umount(8) need to know: `flags` (sloppy, no mtab, verbose, force, read-only on
  /// failure), the namespace and the type.
  private static func withoutHelperOptions(_ arguments: [String], flags: String) -> [String] {
    var kept: [String] = []
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      if argument == "-N" || argument == "-t" {
        _ = rest.popFirst()
      } else if argument == "-o" {
        kept.append(argument)
        if let options = rest.popFirst() { kept.append(options) }
      } else if argument.hasPrefix("-"), !argument.hasPrefix("--"), argument.count > 1 {
        let others = argument.dropFirst().filter { !flags.contains($0) }
        if !others.isEmpty { kept.append("-" + others) }
      } else {
        kept.append(argument)
      }
    }
    return kept
  }
}
