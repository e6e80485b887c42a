import Glibc
import SystemPackage

/// The mounts of this program's that the kernel lists.
enum MountTable {
  /// The mount points of type `fuse.vhdfs` that belong to this user; nobody else's server is asked anything.
  static func vhdfsMounts() -> [String] {
    guard let file = try? FileDescriptor.open("/proc/self/mountinfo", .readOnly) else { return [] }
    defer { try? file.close() }
    var table: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while let count = try? piece.withUnsafeMutableBytes({ try file.read(into: $0) }), count > 0 {
      table += piece[..<count]
    }
    return table.split(separator: UInt8(ascii: "\n")).compactMap { vhdfsMountPoint(in: $0, user: geteuid()) }
  }

  /// The mount point of a line of mountinfo, if the line is about a mount of this program's by `user`.
  ///
  /// `36 35 98:0 /root /point options optional… - type source superoptions` (proc_pid_mountinfo(5)).
  static func vhdfsMountPoint(in line: ArraySlice<UInt8>, user: uid_t) -> String? {
    let fields = line.split(separator: UInt8(ascii: " "))
    guard let separator = fields.firstIndex(where: { $0.elementsEqual("-".utf8) }),
      fields.count >= separator + 4, separator >= 6,
      fields[separator + 1].elementsEqual("fuse.vhdfs".utf8)
    else { return nil }
    let options = fields[separator + 3].split(separator: UInt8(ascii: ","))
    guard options.contains(where: { $0.elementsEqual("user_id=\(user)".utf8) }) else { return nil }
    return unescaped(fields[4])
  }

  /// Undoes mountinfo's `\040` for a blank, and the like.
  private static func unescaped(_ field: ArraySlice<UInt8>) -> String {
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
