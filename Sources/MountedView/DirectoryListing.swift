import CFuse
import Glibc
import Synchronization

/// An open directory: the names as they stood when the listing was begun.
///
/// The offset of an entry is its place in that listing, so it stays right while images come and go; reading
/// from the start again takes a new listing.
final class DirectoryListing: Sendable {
  struct Entry: Sendable {
    let name: String
    let node: NodeNumber
    let isDirectory: Bool
  }

  let directory: NodeNumber
  private let entries: Mutex<[Entry]>

  init(directory: NodeNumber, entries: [Entry]) {
    self.directory = directory
    self.entries = Mutex(entries)
  }

  func renew(_ fresh: [Entry]) { entries.withLock { $0 = fresh } }

  /// Answers as many entries from `offset` as `size` bytes hold.
  func reply(from offset: Int, size: Int, _ request: Request) {
    let listing = entries.withLock { $0 }
    let limit = min(size, 1 << 16)
    withUnsafeTemporaryAllocation(byteCount: max(limit, 1), alignment: 8) { buffer in
      var used = 0
      var index = max(offset, 0)
      while index < listing.count {
        let entry = listing[index]
        var status = stat()
        status.st_ino = ino_t(entry.node.rawValue)
        status.st_mode = entry.isDirectory ? S_IFDIR : S_IFREG
        let place = buffer.baseAddress.map { ($0 + used).assumingMemoryBound(to: CChar.self) }
        let needed = fuse_add_direntry(
          request.pointer, place, limit - used, entry.name, &status, off_t(index + 1))
        if needed > limit - used { break }
        used += needed
        index += 1
      }
      request.reply(UnsafeRawBufferPointer(rebasing: buffer[..<used]))
    }
  }
}
