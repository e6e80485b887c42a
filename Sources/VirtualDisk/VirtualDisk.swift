import Storage
import Synchronization

/// The disk that a chain shows.
///
/// Offsets and lengths are bytes of the disk; the caller has checked that ranges lie inside `size`. Reads and writes
/// need no alignment. All methods may be called from any thread, several at once.
public final class VirtualDisk: Sendable {
  /// Bytes.
  public let size: UInt64
  public let logicalSectorSize: UInt32
  public let physicalSectorSize: UInt32

  /// Leaf first; at least one.
  let images: [SharedImage]
  let leaf: Layer
  let layers: [Layer]
  let sectorGate = SectorGate()
  let tracking: DiskTracking
  /// Tells the maintenance that something waits to be committed.
  let wake: @Sendable () -> Void

  init(
    _ images: [SharedImage], leaf: SharedImage, tracking: DiskTracking = DiskTracking(.none, .init()),
    wake: @escaping @Sendable () -> Void
  ) {
    self.tracking = tracking
    self.images = images
    self.leaf = leaf.layer
    self.wake = wake
    layers = images.map(\.layer)
    size = leaf.layer.virtualSize
    logicalSectorSize = leaf.layer.logicalSectorSize
    physicalSectorSize = leaf.layer.physicalSectorSize
  }

  /// The paths of the chain's files, leaf first.
  public var paths: [String] { images.map(\.reference.path) }

  /// Makes all writes and zeroings that have returned durable: data, then tables through the log. Waits.
  public func flush() throws(ImageError) { try leaf.commit() }

  /// The clean close on the medium, while the disk stays open: everything committed, the log empty, unused room cut.
  /// A later write begins anew. Waits.
  public func finishWriting() throws(ImageError) { try tracking.finishWriting(leaf) }

  /// What comes before the first change of a session, of the file and of the record of its changes. Waits.
  package func beginWriting() throws(ImageError) { try tracking.beginWriting(leaf) }

  /// Resolves an offset through the chain: the run, and the depth of the file that decides.
  func locate(_ offset: UInt64, limit: UInt64, mayWait: Bool, from top: Int = 0) throws(ImageError) -> (
    Run, Int
  ) {
    var limit = limit
    var depth = top
    while depth < layers.count {
      let layerSize = layers[depth].virtualSize
      // A parent may be smaller than its child: behind its end there is nothing.
      guard offset < layerSize else { return (Run(.zero, length: limit), depth) }
      let run = try layers[depth].locate(offset, limit: min(limit, layerSize - offset), mayWait: mayWait)
      guard run.kind == .parent else { return (run, depth) }
      limit = run.length
      depth += 1
    }
    return (Run(.zero, length: limit), layers.count - 1)
  }
}
