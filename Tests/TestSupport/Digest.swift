import Glibc
import LinuxSystem

/// SHA-256 of what is written into it, in lower-case hexadecimal digits, worked out by sha256sum through a pipe.
public final class Digest {
  private let stream: UnsafeMutablePointer<FILE>
  private let result: String

  public init() throws {
    let (file, path) = try newTemporaryFile()
    close(file)
    result = path
    guard let stream = popen("exec sha256sum >'\(result)'", "we") else {
      throw TestFailure.system("sha256sum")
    }
    self.stream = stream
  }

  deinit { unlink(result) }

  public func add(_ bytes: [UInt8]) throws {
    guard fwrite(bytes, 1, bytes.count, stream) == bytes.count else { throw TestFailure.system("sha256sum") }
  }

  public func add(_ bytes: UnsafeRawBufferPointer) throws {
    guard fwrite(bytes.baseAddress, 1, bytes.count, stream) == bytes.count else {
      throw TestFailure.system("sha256sum")
    }
  }

  /// To be called once, at the end.
  public func finish() throws -> String {
    guard pclose(stream) == 0 else { throw TestFailure("sha256sum failed") }
    return String(try textOfFile(result).prefix(64))
  }
}

/// The sum of a sparse disk: SHA-256 over (index as 8 bytes little-endian, bytes) of every 64 KiB chunk that is not
/// all zero, in order, then the size as 8 bytes little-endian.
public final class SparseDigest {
  public static let chunk = 65536
  private let digest: Digest

  public init() throws { digest = try Digest() }

  /// Adds the chunk at `index`; chunks of zeros may be passed or left out.
  public func add(_ bytes: UnsafeRawBufferPointer, at index: UInt64) throws {
    guard let base = bytes.baseAddress, !(bytes[0] == 0 && memcmp(base, base + 1, bytes.count - 1) == 0)
    else { return }
    try withUnsafeBytes(of: index.littleEndian) { try digest.add($0) }
    try digest.add(bytes)
  }

  public func finish(size: UInt64) throws -> String {
    try withUnsafeBytes(of: size.littleEndian) { try digest.add($0) }
    return try digest.finish()
  }
}

/// SHA-256 of a whole file.
public func sha256(ofFile path: String) throws -> String {
  String(try runChecked(["sha256sum", "--", path], timeout: 300).split(separator: " ")[0].suffix(64))
}

/// The sparse sum of a file, by what SEEK_DATA says: holes are believed to be zero.
public func sparseDigest(ofFile path: String) throws -> String {
  let file = try OpenFile(path)
  let size = file.size
  let digest = try SparseDigest()
  let chunk = UInt64(SparseDigest.chunk)
  let batch: UInt64 = 1 << 20
  let memory = UnsafeMutableRawPointer.allocate(byteCount: Int(batch), alignment: 4096)
  defer { memory.deallocate() }
  var position: UInt64 = 0
  while position < size {
    let data = linux_seek_data(file.descriptor, off_t(position))
    if data < 0 {
      guard errno == ENXIO else { throw TestFailure.system("SEEK_DATA \(path)") }
      break
    }
    let hole = linux_seek_hole(file.descriptor, data)
    guard hole > data else { throw TestFailure("\(path): SEEK_HOLE from \(data) gave \(hole)") }
    var start = max(UInt64(data) / chunk * chunk, position)
    let end = min((UInt64(hole) + chunk - 1) / chunk * chunk, size)
    while start < end {
      let count = Int(min(batch, end - start))
      guard pread(file.descriptor, memory, count, off_t(start)) == count else {
        throw TestFailure.system("\(path): read of \(count) at \(start)")
      }
      for piece in stride(from: 0, to: count, by: Int(chunk)) {
        let bytes = UnsafeRawBufferPointer(start: memory + piece, count: min(Int(chunk), count - piece))
        try digest.add(bytes, at: (start + UInt64(piece)) / chunk)
      }
      start += UInt64(count)
    }
    position = max(start, position)
  }
  return try digest.finish(size: size)
}
