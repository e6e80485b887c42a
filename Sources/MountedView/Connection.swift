import CFuse
import Glibc
import Storage
import Synchronization
import SystemPackage

/// The session with the kernel: mounting, receiving requests, and the answers' way out.
///
/// Requests are read here and not by libfuse, so that the buffers are ours and nothing is allocated for one.
/// Answers go through `sent`, which lets the answer to INIT be completed with flags that libfuse 3.14 does
/// not know.
///
/// Unchecked: `session` and `descriptor` are set once, by `mount`, before another thread uses the object;
/// libfuse's session may be used from any thread.
final class Connection: @unchecked Sendable {
  private(set) var session: OpaquePointer?
  private(set) var descriptor: Int32 = -1
  /// The INIT request that waits for its answer, and whether the kernel offers shared mappings with direct
  /// I/O.
  private let initUnique = Atomic<UInt64>(0)
  private let offersSharedMappings = Atomic<Bool>(false)

  /// Mounts at `mountPoint`, an absolute path. `server` must live until `destroy`.
  func mount(
    at mountPoint: String, sourceName: String, readOnly: Bool, allowOther: Bool,
    operations: fuse_lowlevel_ops, server: Server
  ) throws(ImageError) {
    var words = [
      "subtype=vhdfs", "fsname=" + Connection.quoted(sourceName), "default_permissions",
      "max_read=\(ReceiveBuffers.largestTransfer)", "nosuid", "nodev", "noatime",
    ]
    if readOnly { words.append("ro") }
    if allowOther { words.append("allow_other") }
    var arguments = fuse_args(argc: 0, argv: nil, allocated: 0)
    defer { fuse_opt_free_args(&arguments) }
    for text in ["vhdfs", "-o", words.joined(separator: ",")] { fuse_opt_add_arg(&arguments, text) }
    var operations = operations
    FuseMessages.begin()
    let userdata = Unmanaged.passUnretained(server).toOpaque()
    guard
      let session = cfuse_session_new(&arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size, userdata)
    else {
      throw ImageError(.failed, "libfuse cannot begin a session\(FuseMessages.collected())")
    }
    guard fuse_session_mount(session, mountPoint) == 0 else {
      let said = FuseMessages.collected()
      fuse_session_destroy(session)
      throw ImageError(.failed, "\(escaped(mountPoint)): cannot be mounted on\(said)")
    }
    self.session = session
    descriptor = fuse_session_fd(session)
    var transport = fuse_custom_io()
    transport.writev = { descriptor, vectors, count, userdata in
      guard let userdata, let vectors else { return -1 }
      return Unmanaged<Server>.fromOpaque(userdata)._withUnsafeGuaranteedRef {
        $0.connection.send(vectors, count)
      }
    }
    // Never called, as requests are read by `receive`, but libfuse insists on one.
    transport.read = { descriptor, buffer, length, _ in Glibc.read(descriptor, buffer, length) }
    guard fuse_session_custom_io(session, &transport, descriptor) == 0 else {
      fuse_session_unmount(session)
      fuse_session_destroy(session)
      throw ImageError(.failed, "libfuse does not take a transport of our own\(FuseMessages.collected())")
    }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
  }

  /// Commas and backslashes are separators of libfuse's.
  private static func quoted(_ text: String) -> String {
    var result = ""
    for character in text {
      if character == "," || character == "\\" { result.append("\\") }
      result.append(character)
    }
    return result
  }

  // MARK: - Requests

  enum Received {
    case request(Int)
    /// The call was interrupted, or a request was taken back before it was read.
    case nothing
    /// Unmounted, or cut off.
    case ended
  }

  /// Waits for a request and puts it into `buffer` (`ReceiveBuffers.capacity` bytes).
  func receive(into buffer: UnsafeMutableRawPointer) -> Received {
    let count = Glibc.read(descriptor, buffer, ReceiveBuffers.capacity)
    guard count >= MemoryLayout<fuse_in_header>.size else {
      // ENOENT: the request was interrupted before it was read. ENODEV: there is no mount any more.
      if count < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT) { return .nothing }
      return .ended
    }
    if buffer.load(fromByteOffset: 4, as: UInt32.self) == FUSE_INIT.rawValue { noteInit(buffer, count) }
    return .request(count)
  }

  /// Calls the operation that the request names; its answer may come later.
  func process(_ buffer: UnsafeMutableRawPointer, _ count: Int) {
    var request = fuse_buf()
    request.size = count
    request.mem = buffer
    request.fd = -1
    if let session { fuse_session_process_buf(session, &request) }
  }

  /// libfuse has seen the end of the session.
  var hasExited: Bool { session.map { fuse_session_exited($0) != 0 } ?? true }

  /// Closes the connection; what is still mounted answers ENOTCONN from then on.
  func destroy() {
    if let session { fuse_session_destroy(session) }
    session = nil
  }

  // MARK: - INIT

  /// Bits of `flags2` (bit 32 of the flags is its bit 0).
  private static let directIOAllowsMapping: UInt32 = 1 << 4
  private static let extendedFlags: UInt32 = 1 << 30

  private func noteInit(_ buffer: UnsafeMutableRawPointer, _ count: Int) {
    let body = MemoryLayout<fuse_in_header>.size
    initUnique.store(buffer.load(fromByteOffset: 8, as: UInt64.self), ordering: .releasing)
    // major, minor, max_readahead, flags, flags2
    guard count >= body + 20 else { return }
    let flags = buffer.loadUnaligned(fromByteOffset: body + 12, as: UInt32.self)
    let flags2 = buffer.loadUnaligned(fromByteOffset: body + 16, as: UInt32.self)
    offersSharedMappings.store(
      flags & Connection.extendedFlags != 0 && flags2 & Connection.directIOAllowsMapping != 0,
      ordering: .releasing)
  }

  private func send(_ vectors: UnsafeMutablePointer<iovec>, _ count: Int32) -> Int {
    let unique = initUnique.load(ordering: .relaxed)
    if unique != 0, count == 2, let header = vectors[0].iov_base,
      header.load(fromByteOffset: 8, as: UInt64.self) == unique
    {
      initUnique.store(0, ordering: .relaxed)
      return sendInit(vectors)
    }
    return writev(descriptor, vectors, count)
  }

  /// Adds to the answer that shared mappings are wanted of files with direct I/O, where the kernel offers
  /// that.
  private func sendInit(_ vectors: UnsafeMutablePointer<iovec>) -> Int {
    let size = MemoryLayout<fuse_init_out>.size
    guard offersSharedMappings.load(ordering: .acquiring), vectors[1].iov_len == size,
      let answer = vectors[1].iov_base
    else { return writev(descriptor, vectors, 2) }
    // major, minor, max_readahead, flags, max_background + congestion_threshold, max_write, time_gran,
    // max_pages + map_alignment, flags2
    return withUnsafeTemporaryAllocation(byteCount: size, alignment: 8) { copy in
      copy.copyMemory(from: UnsafeRawBufferPointer(start: answer, count: size))
      let flags = copy.load(fromByteOffset: 12, as: UInt32.self) | Connection.extendedFlags
      copy.storeBytes(of: flags, toByteOffset: 12, as: UInt32.self)
      let flags2 = copy.load(fromByteOffset: 32, as: UInt32.self) | Connection.directIOAllowsMapping
      copy.storeBytes(of: flags2, toByteOffset: 32, as: UInt32.self)
      return withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { pair in
        pair[0] = vectors[0]
        pair[1] = iovec(iov_base: copy.baseAddress, iov_len: size)
        return writev(descriptor, pair.baseAddress, 2)
      }
    }
  }
}

/// What libfuse prints, collected while a mount is made, so that it becomes part of the error's sentence.
enum FuseMessages {
  private static let lines = Mutex<[String]>([])

  static func begin() {
    lines.withLock { $0 = [] }
    fuse_set_log_func { _, format, arguments in
      guard let format, let arguments else { return }
      var buffer = [CChar](repeating: 0, count: 512)
      vsnprintf(&buffer, buffer.count, format, arguments)
      let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
      let line = String(decoding: bytes, as: UTF8.self)
      FuseMessages.lines.withLock { lines in
        if lines.count < 16 { lines.append(line) }
      }
    }
  }

  /// `: ` and what was said, in one line; empty where nothing was.
  static func collected() -> String {
    let said = lines.withLock { $0 }.joined().split(separator: "\n").map { escaped(String($0)) }
    return said.isEmpty ? "" : ": " + said.joined(separator: "; ")
  }
}
