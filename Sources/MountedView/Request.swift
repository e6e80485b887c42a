import CFuse
import Glibc
import Storage
import SystemPackage

/// One request of the kernel's, which is to be answered exactly once.
///
/// Unchecked: libfuse's request may be answered from any thread, and whoever holds this value is the only one
/// who will answer; handing it on to a worker hands that duty on too.
struct Request: @unchecked Sendable {
  let pointer: fuse_req_t

  init(_ pointer: fuse_req_t) { self.pointer = pointer }

  func fail(_ code: Int32) {
    _ = fuse_reply_err(pointer, code)
  }

  func succeed() {
    _ = fuse_reply_err(pointer, 0)
  }

  func reply(_ bytes: UnsafeRawBufferPointer) {
    _ = fuse_reply_buf(pointer, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
  }

  func reply(_ bytes: [UInt8]) { bytes.withUnsafeBytes { reply($0) } }

  func replyEmpty() {
    _ = fuse_reply_buf(pointer, nil, 0)
  }

  func replyWritten(_ count: Int) {
    _ = fuse_reply_write(pointer, count)
  }

  func replyOffset(_ offset: UInt64) {
    _ = fuse_reply_lseek(pointer, off_t(offset))
  }

  func reply(attributes: stat, validFor seconds: Double) {
    var attributes = attributes
    _ = fuse_reply_attr(pointer, &attributes, seconds)
  }

  /// False when the kernel did not take the entry, so that its look-up does not count.
  func reply(entry: fuse_entry_param) -> Bool {
    var entry = entry
    return fuse_reply_entry(pointer, &entry) == 0
  }

  /// Answers OPEN or OPENDIR with flags that libfuse 3.14 has no name for; false when the kernel did not take
  /// it, so that no RELEASE will come.
  func replyOpened(handle: UInt64, flags: UInt32) -> Bool {
    var answer = fuse_open_out()
    answer.fh = handle
    answer.open_flags = flags
    return withUnsafeBytes(of: &answer) {
      fuse_reply_buf(pointer, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count) == 0
    }
  }
}

extension ImageError {
  /// What a system call on the mount answers. A damaged file is an input/output error to a program that reads
  /// a disk.
  var replyCode: Int32 {
    let code = errno.rawValue
    return code == EBADMSG || code <= 0 ? EIO : code
  }
}
