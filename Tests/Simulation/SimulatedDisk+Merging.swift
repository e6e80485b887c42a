import Storage
import TestSupport
import VirtualDisk

extension SimulatedDisk {
  /// Merges the leaf into a parent, from which the chain goes on; its points come along.
  mutating func merge(into place: Int) throws {
    guard !parents.isEmpty else { return }
    let depth = 1 + place % parents.count
    // All disks of a VHD chain have one size, or cannot be merged.
    guard !shape.isVHD || parents[depth - 1].contents.count == expected.size else { return }
    try disk.finishWriting()
    try disk.flush()
    try settle()
    restorePower()

    let doubles = [file] + parents.map(\.file)
    let files = doubles.enumerated().map { depth, double in
      HostFile(
        path: "layer\(depth)", double: double,
        identity: FileIdentity(device: 7, inode: UInt64(1000 + parents.count - depth)))
    }
    let record = RecordedFile()
    let made = RecordedFile()
    let slot = TrackingSlot(HostFile(path: "old", double: record)) { HostFile(path: "new", double: made) }
    let upper = [GivenTracking?](repeating: nil, count: depth - 1)
    let merge = try ChainMerge(
      files: files, into: depth,
      records: [tracking?.given] + upper + [tracking?.given(slot)])
    try merge.run { _ in }

    let destination = parents[depth - 1].file
    parents.removeFirst(depth)
    file = RecordedFile(destination.contents, modified: destination.modified)
    file.connect(power)
    if tracking != nil {
      // With no point there is nothing to record.
      guard slot.file.path == "new" else {
        disk = try open(file)
        tracking = SimulatedTracking(shape, power)
        disk = try open(file, tracked: true)
        try startTracking()
        return try compareAll("merged")
      }
      tracking?.replace(made)
    }
    disk = try open(file, tracked: true)
    try validate(disk, isClosed: true, "merged")
    try compareAll("merged")
    try checkChanges("merged")
  }
}

extension SimulatedTracking {
  func given(_ slot: TrackingSlot) -> GivenTracking {
    GivenTracking(slot, boot: boot, options: options)
  }

  /// Another file is the record from now on.
  mutating func replace(_ record: RecordedFile) {
    file = RecordedFile(record.contents)
    file.connect(power)
  }
}
