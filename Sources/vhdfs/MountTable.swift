import Glibc
import SystemPackage

/// The mounts of this program's that the kernel lists.
enum MountTable {
  struct Entry: Equatable {
    var mountPoint: String
    /// The one SOURCE, an absolute path; or `vhdfs` where there are several.
    var source: String

    /// Whether the mount can hold the image at `path`: told from its SOURCE, so that no mount is touched (and kept from
    /// being unmounted at that moment) for nothing.
    func mayHold(_ path: String) -> Bool {
      guard source.hasPrefix("/") else { return true }
      let identities = [path, FilePath(path).removingLastComponent().string].compactMap(MountTable.identity)
      return MountTable.identity(source).map(identities.contains) ?? false
    }
  }

  private static func identity(_ path: String) -> [UInt64]? {
    var status = stat()
    return stat(path, &status) == 0 ? [UInt64(status.st_dev), UInt64(status.st_ino)] : nil
  }

  /// The mounts of type `fuse.vhdfs` that belong to this user; nobody else's server is asked anything.
  static func vhdfsMounts() -> [Entry] {
    guard let file = try? FileDescriptor.open("/proc/self/mountinfo", .readOnly) else { return [] }
    defer { try? file.close() }
    var table: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while let count = try? piece.withUnsafeMutableBytes({ try file.read(into: $0) }), count > 0 {
      table += piece[..<count]
    }
    return table.split(separator: UInt8(ascii: "\n")).compactMap { entry($0, user: geteuid()) }
  }

  /// A line of mountinfo, if it is about a mount of this program's by `user`.
  ///
  /// `36 35 98:0 /root /point options optional… - type source superoptions` (proc_pid_mountinfo(5)).
  static func entry(_ line: ArraySlice<UInt8>, user: uid_t) -> Entry? {
    let fields = line.split(separator: UInt8(ascii: " "))
    guard let separator = fields.firstIndex(where: { $0.elementsEqual("-".utf8) }),
      fields.count >= separator + 4, separator >= 6,
      fields[separator + 1].elementsEqual("fuse.vhdfs".utf8)
    else { return nil }
    let options = fields[separator + 3].split(separator: UInt8(ascii: ","))
    guard options.contains(where: { $0.elementsEqual("user_id=\(user)".utf8) }) else { return nil }
    return Entry(mountPoint: unescaped(fields[4]), source: unescaped(fields[separator + 2]))
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
