import Glibc

/// A directory of its own for one test, removed at the end with all that is in it.
public final class TemporaryDirectory: Sendable {
  public let path: String

  public init() throws {
    let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(base)/vhdfs-test.XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { throw TestFailure.system("mkdtemp in \(base)") }
    path = String(cString: made)
  }

  deinit {
    // One file system only: what is still mounted below stays.
    _ = try? run(["rm", "-rf", "--one-file-system", path])
  }

  /// The path of something in it.
  public func file(_ name: String) -> String { "\(path)/\(name)" }

  /// Makes a directory in it.
  public func directory(_ name: String) throws -> String {
    let path = file(name)
    guard mkdir(path, 0o755) == 0 || errno == EEXIST else { throw TestFailure.system(path) }
    return path
  }
}

/// An open file that a test reads and writes; closed at the end.
public final class OpenFile {
  public let descriptor: Int32
  public let path: String

  public init(_ path: String, _ flags: Int32 = O_RDONLY, mode: mode_t = 0o644) throws {
    self.path = path
    descriptor = open(path, flags | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw TestFailure.system(path) }
  }

  deinit { close(descriptor) }

  public var size: UInt64 { UInt64(max(lseek(descriptor, 0, SEEK_END), 0)) }

  public func read(at offset: UInt64, count: Int) throws -> [UInt8] {
    try readAll(from: descriptor, at: off_t(offset), count: count)
  }

  public func write(_ bytes: [UInt8], at offset: UInt64) throws {
    try writeAll(bytes, to: descriptor, at: off_t(offset))
  }

  public func sync() throws {
    guard fsync(descriptor) == 0 else { throw TestFailure.system("fsync \(path)") }
  }
}

/// A new empty file that programs started from here do not inherit.
func newTemporaryFile() throws -> (descriptor: Int32, path: String) {
  var template = Array("/tmp/vhdfs-test-file.XXXXXX".utf8CString)
  let file = mkstemp(&template)
  guard file >= 0 else { throw TestFailure.system("mkstemp") }
  _ = fcntl(file, F_SETFD, FD_CLOEXEC)
  return (file, String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
}

func readAll(from file: Int32, at offset: off_t, count: Int) throws -> [UInt8] {
  try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
    while filled < count {
      let got = pread(file, buffer.baseAddress.map { $0 + filled }, count - filled, offset + off_t(filled))
      if got < 0 && errno == EINTR { continue }
      guard got >= 0 else { throw TestFailure.system("read at \(Int(offset) + filled)") }
      if got == 0 { break }
      filled += got
    }
  }
}

func writeAll(_ bytes: [UInt8], to file: Int32, at offset: off_t) throws {
  try bytes.withUnsafeBytes { buffer in
    var done = 0
    while done < buffer.count {
      let put = pwrite(file, buffer.baseAddress.map { $0 + done }, buffer.count - done, offset + off_t(done))
      if put < 0 && errno == EINTR { continue }
      guard put > 0 else { throw TestFailure.system("write at \(Int(offset) + done)") }
      done += put
    }
  }
}

/// Whether two stretches of bytes are equal; quick in a build for debugging too.
public func same(_ left: [UInt8], _ right: [UInt8]) -> Bool {
  left.count == right.count && memcmp(left, right, left.count) == 0
}

/// A whole small file as text; works for files whose size is said to be 0, as in /proc.
public func textOfFile(_ path: String) throws -> String {
  let file = try OpenFile(path)
  var bytes: [UInt8] = []
  while true {
    let more = try file.read(at: UInt64(bytes.count), count: 65536)
    bytes += more
    if more.count < 65536 { return String(decoding: bytes, as: UTF8.self) }
  }
}

public func writeFile(_ path: String, _ bytes: [UInt8]) throws {
  try OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC).write(bytes, at: 0)
}

public func fileExists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Bytes that a file has, and bytes of room that it uses.
public func sizes(of path: String) throws -> (size: UInt64, allocated: UInt64) {
  var status = stat()
  guard stat(path, &status) == 0 else { throw TestFailure.system(path) }
  return (UInt64(status.st_size), UInt64(status.st_blocks) * 512)
}

/// The names in a directory, in order.
public func names(in directory: String) throws -> [String] {
  guard let stream = opendir(directory) else { throw TestFailure.system(directory) }
  defer { closedir(stream) }
  var result: [String] = []
  while let entry = readdir(stream) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name != "." && name != ".." { result.append(name) }
  }
  return result.sorted()
}
