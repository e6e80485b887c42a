/// One thing that happens to a simulated disk. What reaches beyond the disk's end is cut there.
///
/// A new operation of the product (a point, a compaction, a merge, …) is a case here, a line in `description` and in
/// `Step.simpler`, a function in `SimulatedDisk`, and a weight in `History`.
package enum Action: Sendable, Equatable, Codable {
  case read(offset: Int, length: Int)
  /// Bytes that depend on the step's seed and their place.
  case write(offset: Int, length: Int)
  case writeZeros(offset: Int, length: Int)
  /// A punched hole or a zeroed range, which are one to a disk.
  case zero(offset: Int, length: Int)
  case flush
  /// The clean close on the medium, while the disk stays open.
  case close
  /// A clean close, and opened anew.
  case reopen
  /// What the program does in the background.
  case maintain
  /// The program is killed: what it wrote is there, what it knew is gone.
  case kill
  /// Any part of what was not flushed is gone.
  case powerCut
  /// The power goes after so many more changes and flushes of the file, in the middle of whatever is done then.
  case powerCutDuring(changes: Int)
  /// The program is killed after so many more changes and flushes, in the middle of whatever it does then.
  case killDuring(changes: Int)
  /// A clean close, and a child on top, which is larger by `growth` bytes.
  case child(blockSize: Int, growth: Int)
  /// Makes a reference point. The oldest goes when there are many.
  case point
  /// Drops the point of that place among those that there are.
  case dropPoint(Int)
  /// A clean close; another program, which knows nothing of tracking, writes; and opened anew.
  case foreignWrite(offset: Int, length: Int)
  /// A clean close and a compaction; `mode` 0 to 4, the range is what a file system would say to be free.
  case compact(mode: Int, offset: Int, length: Int)
  /// A clean close, and the leaf is merged into a parent, which takes its place; 0: its own.
  case merge(depth: Int)
  /// Reads the chain from one of the parents on; 0: the leaf's.
  case readParent(depth: Int, offset: Int, length: Int)
}

/// An action with the seed of all that is random in it, so that leaving another step out changes nothing here.
package struct Step: Sendable, Equatable, Codable, CustomStringConvertible {
  package var seed: UInt64
  package var action: Action

  package init(_ action: Action, seed: UInt64) {
    self.seed = seed
    self.action = action
  }

  package var description: String {
    switch action {
    case .read(let offset, let length): "read \(length) bytes at \(offset)"
    case .write(let offset, let length): "write \(length) bytes at \(offset) (pattern \(seed))"
    case .writeZeros(let offset, let length): "write \(length) zeros at \(offset)"
    case .zero(let offset, let length): "zero \(length) bytes at \(offset)"
    case .flush: "flush"
    case .close: "close cleanly"
    case .reopen: "close cleanly and open anew"
    case .maintain: "background work"
    case .kill: "kill the program and open anew"
    case .powerCut: "power cut (choice \(seed)), and open anew"
    case .powerCutDuring(let changes):
      "power goes at change \(changes) of the file from here on (choice \(seed))"
    case .killDuring(let changes): "the program is killed at change \(changes) from here on"
    case .child(let blockSize, let growth):
      "close cleanly and make a child with blocks of \(blockSize), larger by \(growth)"
    case .point: "make a point"
    case .dropPoint(let place): "drop a point (\(place))"
    case .foreignWrite(let offset, let length):
      "close cleanly, another program writes \(length) bytes at \(offset), open anew"
    case .compact(let mode, let offset, let length):
      "close cleanly and compact in mode \(mode), with \(length) bytes free at \(offset)"
    case .merge(let depth): "close cleanly and merge into parent \(depth)"
    case .readParent(let depth, let offset, let length):
      "read \(length) bytes at \(offset) of parent \(depth)"
    }
  }
}
