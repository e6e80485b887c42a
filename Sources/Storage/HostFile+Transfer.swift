import Glibc
import LinuxSystem
import SystemPackage

extension HostFile {
  /// What a read that must not wait came to.
  public enum NoWaitOutcome {
    /// All bytes were there and are in the buffer.
    case complete
    /// The medium would have to be waited for: ask again with `read`, where waiting is allowed.
    case wouldWait
  }

  /// Fills the whole buffer from `offset`.
  ///
  /// Errors: the system's; damaged, when the file ends before the range does.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
    let count = try readUpTo(buffer, at: offset)
    guard count == buffer.count else { throw endOfFile(buffer.count, at: offset) }
  }

  /// Reads up to the buffer's length from `offset`; returns the bytes read, fewer only at the end of the file.
  public func readUpTo(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int {
    if let double { return try double.read(into: buffer, at: offset) }
    guard offset <= UInt64(Int64.max) else { return 0 }
    var done = 0
    while done < buffer.count {
      let count = pread(
        descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
      if count > 0 {
        done += count
      } else if count == 0 {
        break
      } else if errno != EINTR {
        throw systemError("reading", at: offset + UInt64(done), errno)
      }
    }
    return done
  }

  /// Fills the whole buffer if that takes no waiting for the medium.
  ///
  /// A host file system that cannot promise this is asked only once; from then on `.wouldWait` is the answer.
  public func readWithoutWaiting(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(ImageError) -> NoWaitOutcome {
    if let double {
      guard try double.read(into: buffer, at: offset) == buffer.count else {
        throw endOfFile(buffer.count, at: offset)
      }
      return .complete
    }
    guard offset <= UInt64(Int64.max) else { throw endOfFile(buffer.count, at: offset) }
    if nowaitUnsupported.load(ordering: .relaxed) { return .wouldWait }
    let count = linux_pread_nowait(descriptor, buffer.baseAddress, buffer.count, off_t(offset))
    if count == buffer.count { return .complete }
    if count < 0 && errno == EOPNOTSUPP { nowaitUnsupported.store(true, ordering: .relaxed) }
    // A short answer is either a page that is not there yet or the end of the file: the waiting read tells.
    return .wouldWait
  }

  /// Writes all of `bytes` at `offset`, growing the file where needed. Durable only after `flush`.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
    if let double { return try double.write(bytes, at: offset) }
    guard offset <= UInt64(Int64.max) - UInt64(bytes.count) else {
      throw systemError("writing", at: offset, EFBIG)
    }
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + off_t(done))
      if count >= 0 {
        done += count
      } else if errno != EINTR {
        throw systemError("writing", at: offset + UInt64(done), errno)
      }
    }
  }

  /// Writes an array; for tables, not for payload.
  public func write(_ bytes: [UInt8], at offset: UInt64) throws(ImageError) {
    // The array's own accessor cannot pass a typed error on.
    let result: Result<Void, ImageError> = bytes.withUnsafeBytes { buffer in
      Result { () throws(ImageError) in try write(buffer, at: offset) }
    }
    try result.get()
  }

  private func endOfFile(_ length: Int, at offset: UInt64) -> ImageError {
    ImageError(
      .wrongDataType,
      "\(escaped(path)): the file ends before offset \(offset) + \(length), where data is said to be; "
        + "it was cut, or is still being copied")
  }
}
