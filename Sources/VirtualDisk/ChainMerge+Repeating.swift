import Glibc
import Storage

/// A merge that was done before, and ended while files were removed or given another parent: what is left to do is that alone.
/// Merged once more the destination would be another for its children, among them those that it has got by the first run.
extension ChainMerge {
  /// The destination reads as the source does, by the word of its child. Always false for a VHD, which cannot say it.
  package var isSettled: Bool {
    guard case .vhdx = destination, let mark = images[depth - 1].mergeMark, mark.isInPlace, let id = mark.id,
      images[0].mergeIDs.contains(id), mark.source == source.identifierForChildren,
      mark.own == child.identifierForChildren
    else { return false }
    // That the files between are the same, and the destination, the chain shows by its linkage.
    return true
  }

  /// The destination reads as the source does, byte for byte. Waits long.
  ///
  /// - Parameter step: is told bytes that were compared; its error ends it.
  package func readsTheSame(_ step: (UInt64) throws(ImageError) -> Void) throws(ImageError) -> Bool {
    guard destination.virtualSize == size else { return false }
    let disk = destinationDisk()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * ChainMerge.chunk, alignment: 4096)
    defer { buffer.deallocate() }
    var position: UInt64 = 0
    while position < size {
      let (held, length) = try held(at: position)
      position += length
      guard let held else { continue }
      var done: UInt64 = 0
      while done < held.length {
        let count = min(held.length - done, UInt64(ChainMerge.chunk))
        let wanted = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(count)])
        let present = UnsafeMutableRawBufferPointer(
          rebasing: buffer[ChainMerge.chunk..<(ChainMerge.chunk + Int(count))])
        if held.isZero {
          wanted.clear()
        } else {
          try held.read(wanted, from: done, images[held.depth].layer)
        }
        guard try disk.read(into: present, at: held.offset + done, mayWait: true),
          let one = wanted.baseAddress, let other = present.baseAddress, memcmp(one, other, Int(count)) == 0
        else { return false }
        done += count
        try step(held.isZero ? 0 : count)
      }
    }
    return true
  }

  /// The destination has the points of all files above, where they count: none would be lost with those. Waits.
  package func hasPointsOfAll() throws(ImageError) -> Bool {
    let present = Set(try trackings[depth].countingTracker(destination)?.points.map(\.id) ?? [])
    for level in 0..<depth {
      let points = try trackings[level].countingTracker(images[level].layer)?.points ?? []
      guard present.isSuperset(of: points.map(\.id)) else { return false }
    }
    return true
  }
}
