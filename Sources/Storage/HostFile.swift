import Glibc
import LinuxSystem
import Synchronization
import SystemPackage

/// An open file of the host: the only way by which the formats reach the system.
///
/// - Offsets and lengths are bytes. Reads and writes are positional and complete: EINTR and short transfers are
///   gone on with here. The file position is never used.
/// - All methods may be called from any thread.
/// - In production `double` is nil and each call is one branch and one system call; nothing is allocated.
public final class HostFile: Sendable {
  /// The path as the user gave it or as it was found; for messages only.
  public let path: String
  /// Opened for writing too.
  public let isWritable: Bool
  /// The device and inode; one inode under two names is one image.
  public let identity: FileIdentity
  /// -1 when a double stands in.
  let descriptor: Int32
  let double: (any HostFileDouble)?
  /// Set once the host file system has said that it cannot answer without waiting.
  let nowaitUnsupported = Atomic<Bool>(false)

  /// Takes over `descriptor`, which is closed with this object.
  public init(path: String, descriptor: Int32, isWritable: Bool) throws(ImageError) {
    self.path = path
    self.descriptor = descriptor
    self.isWritable = isWritable
    self.double = nil
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let code = Errno(rawValue: errno)
      close(descriptor)
      throw ImageError(errno: code, "\(escaped(path)): cannot be examined (\(code))")
    }
    self.identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
  }

  /// A file made of `double`, for tests.
  ///
  /// - Parameter identity: which file it is said to be; nil: each double is a file of its own.
  public init(
    path: String, double: any HostFileDouble, isWritable: Bool = true, identity: FileIdentity? = nil
  ) {
    self.path = path
    self.descriptor = -1
    self.isWritable = isWritable
    self.double = double
    self.identity =
      identity
      ?? FileIdentity(device: 0, inode: UInt64(UInt(bitPattern: ObjectIdentifier(double).hashValue)))
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  /// An error about this file: the system's errno, what was being done, and where.
  func systemError(_ what: String, at offset: UInt64? = nil, _ code: Int32) -> ImageError {
    let place = offset.map { " at offset \($0)" } ?? ""
    let cause = Errno(rawValue: code)
    return ImageError(errno: cause, "\(escaped(path)): \(what)\(place) failed: \(cause.description)")
  }
}

/// Which file it is, whatever its name.
public struct FileIdentity: Hashable, Sendable {
  public let device: UInt64
  public let inode: UInt64
  public init(device: UInt64, inode: UInt64) {
    self.device = device
    self.inode = inode
  }
}
