import Storage
import TestSupport
import VirtualDisk

/// A disk of the corpus as the library shows it.
final class CorpusDisk {
  private let library: DiskLibrary
  private let handle: DiskHandle
  var disk: VirtualDisk { handle.disk }

  /// Opens an image for reading; parents are looked for in its own directory and in those named.
  init(_ path: String, parents: [String] = []) throws {
    library = try DiskLibrary(sources: [path], parentDirectories: parents, isReadOnly: true)
    let name = path.split(separator: "/").last.map(String.init) ?? path
    handle = try library.open(name, access: .read)
  }

  func close() throws {
    try handle.close()
    try library.close()
  }

  /// SHA-256 of all bytes.
  func sha256() throws -> String {
    let digest = try Digest()
    try forEachPiece(from: 0, to: disk.size) { bytes, _ in try digest.add(bytes) }
    return try digest.finish()
  }

  /// The sparse sum; what the disk says holds no data is not read.
  func sparseSum() throws -> String {
    let digest = try SparseDigest()
    let chunk = UInt64(SparseDigest.chunk)
    var position: UInt64 = 0
    while let data = try disk.nextData(from: position) {
      let hole = try disk.nextHole(from: data)
      guard hole > data else { throw TestFailure("a hole at \(hole) after data at \(data)") }
      // Whole chunks, each once: a stretch of data may begin and end within one.
      let start = max(data / chunk * chunk, position)
      let end = min((hole + chunk - 1) / chunk * chunk, disk.size)
      try forEachPiece(from: start, to: end) { bytes, offset in
        for piece in stride(from: 0, to: bytes.count, by: Int(chunk)) {
          let part = UnsafeRawBufferPointer(rebasing: bytes[piece..<min(piece + Int(chunk), bytes.count)])
          try digest.add(part, at: (offset + UInt64(piece)) / chunk)
        }
      }
      position = end
      if position >= disk.size { break }
    }
    return try digest.finish(size: disk.size)
  }

  /// All bytes of a range.
  func bytes(at offset: UInt64, count: Int) throws -> [UInt8] {
    var result = [UInt8](repeating: 0xEE, count: count)
    try result.withUnsafeMutableBytes { buffer in
      _ = try disk.read(into: buffer, at: offset, mayWait: true)
    }
    return result
  }

  /// Pieces of 1 MiB, cut at the end.
  private func forEachPiece(
    from start: UInt64, to end: UInt64, _ body: (UnsafeRawBufferPointer, UInt64) throws -> Void
  ) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var offset = start
    while offset < end {
      let count = Int(min(UInt64(buffer.count), end - offset))
      let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
      guard try disk.read(into: piece, at: offset, mayWait: true) else {
        throw TestFailure("a waiting read at \(offset) did not wait")
      }
      try body(UnsafeRawBufferPointer(piece), offset)
      offset += UInt64(count)
    }
  }
}
