import Glibc

/// A process that has a lock on a file, found in /proc where that is permitted.
public struct LockHolder: Hashable, Sendable, CustomStringConvertible {
  public let process: Int32
  public let command: String

  public var description: String { "\(escaped(command)) (process \(process))" }

  /// Everybody but `except` whose descriptors show a lock on the file.
  ///
  /// The locks of QEMU belong to the open file description, so /proc/locks names no process: the descriptors'
  /// own pages in /proc do.
  public static func holders(of file: FileIdentity, except own: Int32) -> [LockHolder] {
    // major:minor:inode, as the kernel prints it in a `lock:` line.
    let major = (file.device >> 8 & 0xFFF) | (file.device >> 32 & ~0xFFF)
    let minor = (file.device & 0xFF) | (file.device >> 12 & ~0xFF)
    let place = "\(hex2(major)):\(hex2(minor)):\(file.inode) "
    var found: [LockHolder] = []
    for name in entries(of: "/proc") {
      guard let process = Int32(name), process != own else { continue }
      let folder = "/proc/\(name)/fdinfo"
      let holds = entries(of: folder).contains { descriptor in
        guard let text = contents(of: "\(folder)/\(descriptor)") else { return false }
        return text.split(separator: "\n").contains { $0.hasPrefix("lock:") && $0.contains(place) }
      }
      if holds {
        let command = contents(of: "/proc/\(name)/comm").map { String($0.prefix { $0 != "\n" }) }
        found.append(LockHolder(process: process, command: command ?? "a program"))
      }
    }
    return found
  }

  private static func hex2(_ number: UInt64) -> String {
    let text = String(number, radix: 16)
    return text.count < 2 ? "0" + text : text
  }

  private static func entries(of folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names
  }

  private static func contents(of path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 8192)
    let count = read(descriptor, &bytes, bytes.count)
    return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
  }
}
