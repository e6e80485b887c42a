import ChangeTracking
import Storage
import VHDX

/// Copies what the files above one of a chain hold down into that one, which then reads as the chain did.
///
/// The steps, each durable before the next begins, so that the chain reads the same wherever they end and all can be done
/// again:
///
/// 1. The child of the destination (its direct one in this chain) is told by which identity it will find the
///    destination: `parent_linkage2` (VHDX). It goes on finding it by the one that it has.
/// 2. The record of the destination's changes takes all in that is going to change, and the points of the disks above.
/// 3. The destination gets that identity, the disk's size, and what belongs to the disk of the metadata.
/// 4. Bytes and zeros, in ascending order. What lies there is nothing that the chain reads.
/// 5. The destination is closed; its record forgets what it kept for the case that the merge would be cut off.
/// 6. The destination says of which merges it holds the content, where what it stands on tells of some.
/// 7. The child knows the destination by its new identity alone.
///
/// Nobody else uses the files up to the destination meanwhile.
///
/// Not safe for concurrent use; `@unchecked Sendable` because an operation makes it on one thread and runs it on another,
/// one after the other.
package final class ChainMerge: @unchecked Sendable {
  /// Leaf first.
  private(set) var images: [SharedImage]
  /// The destination's place.
  let depth: Int
  /// Of the files up to the destination.
  let trackings: [DiskTracking]
  /// What the destination's child says of it now.
  var locator: VHDX.ParentLocator?

  /// Bytes between two looks at whether it is to end; a multiple of every sector.
  static let chunk = 4 << 20
  /// Bytes after which what was copied is made durable, so that a cancel need not wait for more than that.
  private static let commitLength: UInt64 = 64 << 20

  init(_ images: [SharedImage], into depth: Int, trackings: [DiskTracking]) {
    self.images = images
    self.depth = depth
    self.trackings = trackings
  }

  var source: Layer { images[0].layer }
  var destination: Layer { images[depth].layer }
  /// The destination's child in this chain.
  var child: Layer { images[depth - 1].layer }

  /// Files that were merged past tell of it (see `MergeMark`).
  package var marksMergedFiles: Bool { if case .vhdx = destination { true } else { false } }

  /// Bytes of the disk when it is done.
  package var size: UInt64 { source.virtualSize }

  /// Bytes that are going to be copied. Waits.
  package func bytesToCopy(_ step: (UInt64) throws(ImageError) -> Void) throws(ImageError) -> UInt64 {
    var bytes: UInt64 = 0
    try forEachHeld { (held) throws(ImageError) in
      try step(0)
      if !held.isZero { bytes += held.length }
    }
    return bytes
  }

  /// Does it. Waits long.
  ///
  /// - Parameter step: is told bytes that were copied, some times a second; its error ends the merge.
  ///
  /// Errors: `step`'s; those of the files. The chain reads as before then, and the merge can be run again.
  package func run(_ step: (UInt64) throws(ImageError) -> Void) throws(ImageError) {
    let identity = try announce()
    do throws(ImageError) {
      let isMerged = try beginDestination(identity, step)
      try shape(identity, step)
      try copy(step)
      try trackings[depth].finishMerge(destination, isMerged: isMerged)
    } catch {
      closeAfterFailure()
      throw error
    }
    try inherit()
    try settle(identity)
  }

  /// What was copied is of use to the next run, and none to the chain; the file is left closed where it can be. Where it
  /// cannot, the record stays that of a killed program, which is never wrong.
  private func closeAfterFailure() {
    guard destination.isInSession, (try? destination.finishWriting()) != nil else { return }
    // The size that was presented may not be the file's yet.
    guard let found = try? Layer(destination.file) else { return }
    replaceDestination(found)
    try? trackings[depth].finishWriting(found)
  }

  // MARK: - Steps

  private func beginDestination(
    _ identity: ImageState.WriteIdentity, _ step: (UInt64) throws(ImageError) -> Void
  ) throws(ImageError) -> Bool {
    var above: [ChangeTracker?] = []
    for level in (0..<depth).reversed() {
      above.append(try trackings[level].countingTracker(images[level].layer))
    }
    return try trackings[depth].beginMerge(destination, as: identity, size: size, above: above) {
      (record) throws(ImageError) in
      try forEachHeld { (held) throws(ImageError) in
        try step(0)
        try record(
          MergedRecord.Held(held.offset..<(held.offset + held.length), level: depth - held.depth))
      }
      // A larger destination is cut to the source's size, which changes what lies behind.
      if size < destination.virtualSize {
        try record(MergedRecord.Held(size..<destination.virtualSize, level: depth))
      }
    }
  }

  /// Puts an object that was opened anew in the place of the destination's.
  func replaceDestination(_ layer: Layer) {
    images[depth] = SharedImage(images[depth].reference, layer)
  }

  /// The disk that the destination shows. Its record knows everything already.
  func destinationDisk() -> VirtualDisk {
    VirtualDisk(Array(images[depth...]), leaf: images[depth], wake: {})
  }

  private func copy(_ step: (UInt64) throws(ImageError) -> Void) throws(ImageError) {
    let disk = destinationDisk()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: ChainMerge.chunk, alignment: 4096)
    defer { buffer.deallocate() }
    let clock = ContinuousClock()
    var waiting: UInt64 = 0
    var committed = clock.now
    try forEachHeld { (held) throws(ImageError) in
      var done: UInt64 = 0
      while done < held.length {
        let count: UInt64
        if held.isZero {
          count = min(held.length - done, ChainMerge.zeroLength)
          try disk.zero(at: held.offset + done, length: count)
        } else {
          count = min(held.length - done, UInt64(buffer.count))
          let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(count)])
          try held.read(part, from: done, images[held.depth].layer)
          _ = try disk.write(UnsafeRawBufferPointer(part), at: held.offset + done, mayWait: true)
          waiting += count
        }
        done += count
        if waiting >= ChainMerge.commitLength || disk.leaf.wantsCommit || committed + .seconds(5) < clock.now
        {
          try disk.flush()
          waiting = 0
          committed = clock.now
        }
        try step(held.isZero ? 0 : count)
      }
    }
  }

  /// Bytes that are made zero between two looks at whether it is to end.
  static let zeroLength: UInt64 = 1 << 30
}

/// A stretch of the disk that a file above the destination decides.
struct HeldRun {
  var offset: UInt64
  var length: UInt64
  var isZero: Bool
  var isLogged: Bool
  /// Where its bytes lie in the file at `depth`.
  var fileOffset: UInt64
  /// The file that decides.
  var depth: Int

  /// Reads its bytes from `position` of it on.
  func read(
    _ buffer: UnsafeMutableRawBufferPointer, from position: UInt64, _ layer: Layer
  ) throws(ImageError) {
    if isLogged {
      try layer.readLogged(into: buffer, at: fileOffset + position)
    } else {
      try layer.file.read(into: buffer, at: fileOffset + position)
    }
  }
}

extension ChainMerge {
  /// Goes through what the files above the destination hold, in ascending order. Waits.
  func forEachHeld(_ body: (HeldRun) throws(ImageError) -> Void) throws(ImageError) {
    var position: UInt64 = 0
    while position < size {
      let (run, length) = try held(at: position)
      if let run { try body(run) }
      position += length
    }
  }

  /// What is held at an offset, and how far that goes; nil for what the destination decides, and those below it.
  func held(at offset: UInt64) throws(ImageError) -> (HeldRun?, UInt64) {
    var limit = size - offset
    for level in 0...depth {
      let layer = images[level].layer
      guard offset < layer.virtualSize else {
        // Behind the end of a smaller parent there is nothing: its child says so by being larger.
        let run = HeldRun(
          offset: offset, length: limit, isZero: true, isLogged: false, fileOffset: 0, depth: level - 1)
        return (run, limit)
      }
      limit = min(limit, layer.virtualSize - offset)
      guard level < depth else { break }
      let run = try layer.locate(offset, limit: limit, mayWait: true)
      limit = run.length
      switch run.kind {
      case .parent: continue
      case .unknown:
        throw ImageError(.failed, "\(escaped(layer.file.path)): what is at offset \(offset) cannot be told")
      case .zero, .data, .logged:
        let held = HeldRun(
          offset: offset, length: limit, isZero: run.kind == .zero, isLogged: run.kind == .logged,
          fileOffset: run.fileOffset, depth: level)
        return (held, limit)
      }
    }
    return (nil, limit)
  }
}
