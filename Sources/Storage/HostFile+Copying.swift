import Glibc
import LinuxSystem

extension HostFile {
  /// Copies a range to another place of the same file, which must not overlap it and must read as zero: what is a hole
  /// there stays one. Durable only after `flush`. The source must lie inside the file.
  ///
  /// - Parameters:
  ///   - known: where the file was found to have no holes a moment ago, which is learned here: some hosts look through all
  ///     that follows to find the next hole, and need not for each of many copies. What has become a hole is copied as zeros.
  ///   - step: called with the number of bytes done after each 4 MiB or less; its error ends the copying.
  public func copy(
    from source: UInt64, to target: UInt64, length: UInt64, known: inout Range<UInt64>,
    step: (UInt64) throws(ImageError) -> Void
  ) throws(ImageError) {
    // One that stays in the processor's cache, for the whole of a block.
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Int(min(HostFile.copyBuffer, max(length, 1))), alignment: 4096)
    defer { buffer.deallocate() }
    let end = source + length
    var position = source
    while position < end {
      if !known.contains(position) {
        guard let data = nextData(from: position, end: end) else { break }
        if data > position { try step(data - position) }
        position = data
        let hole = nextHole(from: data, end: UInt64(Int64.max))
        guard hole > data else { break }
        known = data..<hole
      }
      let hole = min(known.upperBound, end)
      while position < hole {
        let count = min(hole - position, HostFile.copyStep)
        try copyData(from: position, to: target + (position - source), length: count, by: buffer)
        position += count
        try step(count)
      }
    }
    if position < end { try step(end - position) }
  }

  private static let copyStep: UInt64 = 4 << 20

  private static let copyBuffer: UInt64 = 256 << 10

  private func copyData(
    from source: UInt64, to target: UInt64, length: UInt64, by buffer: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    var done: UInt64 = 0
    while done < length {
      let count = min(UInt64(buffer.count), length - done)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(count)])
      try read(into: part, at: source + done)
      try write(UnsafeRawBufferPointer(part), at: target + done)
      done += count
    }
    // The flush that follows some time later has less to wait for, and so has a cancel.
    if double == nil { linux_start_writing(descriptor, off_t(target), off_t(length)) }
  }
}
