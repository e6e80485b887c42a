import Glibc
import LinuxSystem
import SystemPackage

extension HostFile {
  /// The size in bytes.
  public func size() throws(ImageError) -> UInt64 {
    try status().size
  }

  /// Size, room used on the host, and time of the last change (nanoseconds since 1970).
  public func status() throws(ImageError) -> HostFileStatus {
    if let double {
      let size = try double.size()
      return HostFileStatus(size: size, allocated: size, modified: double.modified)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw systemError("examining", errno) }
    return HostFileStatus(
      size: UInt64(status.st_size), allocated: UInt64(status.st_blocks) * 512,
      modified: Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec))
  }

  /// Bytes that the file's host file system has free; nil where it cannot tell.
  public func freeRoom() -> UInt64? {
    guard double == nil else { return nil }
    var status = statvfs()
    guard fstatvfs(descriptor, &status) == 0 else { return nil }
    let (bytes, overflow) = UInt64(status.f_bfree).multipliedReportingOverflow(by: UInt64(status.f_frsize))
    return overflow ? nil : bytes
  }

  /// Whose the file is and who may use it: the owner, the group, and the mode's permission bits.
  public func access() throws(ImageError) -> (owner: UInt32, group: UInt32, mode: UInt32) {
    guard double == nil else { return (geteuid(), getegid(), 0o600) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw systemError("examining", errno) }
    return (status.st_uid, status.st_gid, status.st_mode & 0o7777)
  }

  /// Makes all earlier writes, resizes and holes durable (data, and the size that is needed to reach it).
  ///
  /// After an error nothing is known of what was written since the last success: the caller must stop writing.
  public func flush() throws(ImageError) {
    if let double { return try double.flush() }
    while fdatasync(descriptor) != 0 {
      if errno != EINTR { throw systemError("flushing", errno) }
    }
  }

  /// As `flush`, and the time of the last change with it.
  public func flushWithTimes() throws(ImageError) {
    if let double { return try double.flush() }
    while fsync(descriptor) != 0 {
      if errno != EINTR { throw systemError("flushing", errno) }
    }
  }

  /// Grows the file with zeros, or cuts it.
  public func resize(to size: UInt64) throws(ImageError) {
    if let double { return try double.resize(to: size) }
    guard size <= UInt64(Int64.max) else { throw systemError("growing", at: size, EFBIG) }
    while ftruncate(descriptor, off_t(size)) != 0 {
      if errno != EINTR { throw systemError("setting the size to \(size)", errno) }
    }
  }

  /// Makes the range read as zero and gives its room back to the host; the size stays.
  ///
  /// On a host file system without holes zeros are written instead.
  public func punch(at offset: UInt64, length: UInt64) throws(ImageError) {
    if let double { return try double.punch(at: offset, length: length) }
    guard length > 0 else { return }
    while linux_punch_hole(descriptor, off_t(offset), off_t(length)) != 0 {
      switch errno {
      case EINTR: continue
      case EOPNOTSUPP: return try writeZeros(at: offset, length: length)
      default: throw systemError("punching \(length) bytes", at: offset, errno)
      }
    }
  }

  /// Reserves room on the host for the range, growing the file where needed; does nothing where the host cannot.
  public func reserve(at offset: UInt64, length: UInt64) throws(ImageError) {
    if let double { return try double.reserve(at: offset, length: length) }
    while linux_allocate(descriptor, off_t(offset), off_t(length)) != 0 {
      switch errno {
      case EINTR: continue
      case EOPNOTSUPP:
        if try size() < offset + length { try resize(to: offset + length) }
        return
      default: throw systemError("reserving \(length) bytes", at: offset, errno)
      }
    }
  }

  /// Writes zeros over the range.
  public func writeZeros(at offset: UInt64, length: UInt64) throws(ImageError) {
    let chunk = 1 << 20
    let zeros = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Int(min(UInt64(chunk), length)), alignment: 4096)
    defer { zeros.deallocate() }
    zeros.clear()
    var done: UInt64 = 0
    while done < length {
      let count = Int(min(UInt64(chunk), length - done))
      try write(UnsafeRawBufferPointer(rebasing: zeros[..<count]), at: offset + done)
      done += UInt64(count)
    }
  }

  /// Where the next byte that the host holds lies, at or after `offset` and before `end`; nil when there is none.
  /// A host that cannot tell is taken to hold everything.
  public func nextData(from offset: UInt64, end: UInt64) -> UInt64? {
    if let double { return double.nextData(from: offset, end: end) }
    let found = linux_seek_data(descriptor, off_t(offset))
    if found < 0 { return errno == ENXIO ? nil : (offset < end ? offset : nil) }
    return UInt64(found) < end ? UInt64(found) : nil
  }

  /// Where the next hole of the host file begins, at or after `offset`; `end` when there is none before it.
  public func nextHole(from offset: UInt64, end: UInt64) -> UInt64 {
    if let double { return double.nextHole(from: offset, end: end) }
    let found = linux_seek_hole(descriptor, off_t(offset))
    return found < 0 ? end : min(UInt64(found), end)
  }
}

/// What the host says of a file.
public struct HostFileStatus: Hashable, Sendable {
  /// Bytes from first to last.
  public let size: UInt64
  /// Bytes of room used on the host.
  public let allocated: UInt64
  /// Last change of the contents, nanoseconds since 1970-01-01 UTC.
  public let modified: Int64
  public init(size: UInt64, allocated: UInt64, modified: Int64) {
    self.size = size
    self.allocated = allocated
    self.modified = modified
  }
}

extension HostFile {
  /// Makes the range read as zero and keeps its room on the host, where the host can do so.
  public func zeroInPlace(at offset: UInt64, length: UInt64) throws(ImageError) {
    if let double { return try double.punch(at: offset, length: length) }
    guard length > 0 else { return }
    while linux_zero_range(descriptor, off_t(offset), off_t(length)) != 0 {
      switch errno {
      case EINTR: continue
      case EOPNOTSUPP: return try writeZeros(at: offset, length: length)
      default: throw systemError("zeroing \(length) bytes", at: offset, errno)
      }
    }
  }
}
