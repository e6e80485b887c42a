import Glibc
import Storage

/// Tells one start of the machine from another.
enum BootIdentity {
  /// The kernel's random id of this boot; one of this process where that cannot be read, so that what another process left
  /// counts as left by a power cut.
  static let current: GUID = {
    let descriptor = Glibc.open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return .random() }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 64)
    let count = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
    guard count >= 36 else { return .random() }
    return GUID(String(decoding: bytes[..<36], as: UTF8.self)) ?? .random()
  }()
}
