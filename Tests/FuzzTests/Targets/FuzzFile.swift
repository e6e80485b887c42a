import Storage
import Synchronization
import SystemPackage

/// A host file in memory, as sparse as the input says, of a host that has little room.
final class FuzzFile: HostFileDouble {
  /// What is held at most; then the host is full.
  static let room = 48 << 20
  /// As the file systems of Linux have it.
  static let largestSize = UInt64(Int64.max)

  private let state: Mutex<SparseImage>

  init(_ image: SparseImage) {
    var image = image
    // What an input says of bytes behind the end must not appear when the file grows.
    image.zero(at: image.size, length: .max - image.size)
    state = Mutex(image)
  }

  /// What the file holds now.
  var contents: SparseImage { state.withLock { $0 } }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int {
    state.withLock { image in
      guard offset < image.size else { return 0 }
      let count = Int(min(UInt64(buffer.count), image.size - offset))
      image.copy(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), from: offset)
      return count
    }
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
    try state.withLock { (image) throws(ImageError) in
      guard offset <= FuzzFile.largestSize - UInt64(bytes.count) else { throw FuzzFile.tooLarge }
      guard image.heldBytes + bytes.count <= FuzzFile.room else {
        throw ImageError(errno: .noSpace, "the host is full")
      }
      image.put(bytes, at: offset)
      image.size = max(image.size, offset + UInt64(bytes.count))
    }
  }

  func flush() throws(ImageError) {}

  func size() throws(ImageError) -> UInt64 { state.withLock { $0.size } }

  func resize(to size: UInt64) throws(ImageError) {
    try state.withLock { (image) throws(ImageError) in
      guard size <= FuzzFile.largestSize else { throw FuzzFile.tooLarge }
      if size < image.size { image.zero(at: size, length: image.size - size) }
      image.size = size
    }
  }

  func punch(at offset: UInt64, length: UInt64) throws(ImageError) {
    state.withLock { image in
      guard offset < image.size else { return }
      image.zero(at: offset, length: min(length, image.size - offset))
    }
  }

  func nextData(from offset: UInt64, end: UInt64) -> UInt64? {
    state.withLock { image in
      let pageSize = UInt64(SparseImage.pageSize)
      let first = offset / pageSize
      guard let page = image.pages.keys.filter({ $0 >= first && $0 * pageSize < end }).min() else {
        return nil
      }
      return max(offset, page * pageSize)
    }
  }

  private static let tooLarge = ImageError(errno: Errno(rawValue: 27), "the host knows no files so large")
}
