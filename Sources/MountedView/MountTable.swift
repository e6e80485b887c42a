import Glibc
import SystemPackage

/// One line of the kernel's table of mounts.
public struct MountEntry: Equatable, Sendable {
  public let mountPoint: String
  /// With the subtype: `fuse.vhdfs`.
  public let type: String
  /// Of a mount of ours the one SOURCE, an absolute path; or `vhdfs` where there are several.
  public let source: String
  /// What the file system itself was told: of a FUSE mount, who made it (`user_id=…`).
  public let options: [String]

  /// `36 35 98:0 /root /point options optional… - type source superoptions`, as in proc_pid_mountinfo(5).
  init?(line: ArraySlice<UInt8>) {
    let fields = line.split(separator: UInt8(ascii: " "))
    guard let separator = fields.dropFirst(6).firstIndex(where: { $0.elementsEqual("-".utf8) }),
      fields.count >= separator + 3
    else { return nil }
    options =
      fields.count > separator + 3
      ? fields[separator + 3].split(separator: UInt8(ascii: ",")).map { String(decoding: $0, as: UTF8.self) }
      : []
    mountPoint = MountEntry.unescaped(fields[4])
    type = MountEntry.unescaped(fields[separator + 1])
    source = MountEntry.unescaped(fields[separator + 2])
  }

  /// Nothing is changed through it.
  public var isReadOnly: Bool { options.contains("ro") }

  /// A mount of this program's.
  public var isOurs: Bool { type == "fuse.vhdfs" }

  /// Undoes `\040` for a blank, and the like: in the kernel's table, and in reports of a mount.
  public static func unescaped(_ field: ArraySlice<UInt8>) -> String {
    var bytes: [UInt8] = []
    var rest = field
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3,
        let code = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
      {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// The kernel's table of mounts.
public enum MountTable {
  /// All mounts that this process sees, in the order in which they were made.
  public static var entries: [MountEntry] {
    SystemText.bytes(of: "/proc/self/mountinfo").split(separator: UInt8(ascii: "\n")).compactMap(
      MountEntry.init(line:))
  }

  /// What is on top at `path`, an absolute path as the kernel shows it.
  static func top(at path: String) -> MountEntry? { entries.last { $0.mountPoint == path } }
}

/// What the system tells in small files.
enum SystemText {
  /// All bytes; none where the file cannot be read.
  static func bytes(of path: String) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var contents: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(descriptor, &piece, piece.count)
      if count > 0 { contents += piece[..<count] } else if count == 0 || errno != EINTR { return contents }
    }
  }

  static func text(of path: String) -> String { String(decoding: bytes(of: path), as: UTF8.self) }

  /// The names in a directory but `.` and `..`; none where it cannot be read.
  static func names(in directory: String) -> [String] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }

  /// Where a link points; nil where it cannot be read.
  static func target(ofLink path: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = readlink(path, &buffer, buffer.count)
    return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
  }
}
