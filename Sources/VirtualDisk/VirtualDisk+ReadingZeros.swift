import Storage

/// Looking for bytes that are not zero.
extension VirtualDisk {
  /// Reads in steps of a MiB, into a buffer of its own. Not safe for concurrent use.
  final class ZeroReader {
    static let step: UInt64 = 1 << 20
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(step), alignment: 4096)
    /// Bytes read so far.
    var count: UInt64 = 0
    /// Where a file was found to have no holes: some hosts look through all that follows to find the next one.
    fileprivate var known: (file: ObjectIdentifier, range: Range<UInt64>)?
    deinit { buffer.deallocate() }
  }

  /// Whether the chain shows nothing but zeros in the range, from the file at depth `top` on. Ends at the first byte that
  /// is not zero. What the host keeps as holes is not read. Waits.
  ///
  /// - Parameter check: called after each step of reading.
  func readsZero(
    _ range: Range<UInt64>, from top: Int = 0, _ reader: ZeroReader, check: () throws(ImageError) -> Void
  ) throws(ImageError) -> Bool {
    var position = range.lowerBound
    while position < range.upperBound {
      let (run, depth) = try locate(position, limit: range.upperBound - position, mayWait: true, from: top)
      switch run.kind {
      case .data:
        guard
          try layers[depth].file.isZero(run.fileOffset..<(run.fileOffset + run.length), reader, check: check)
        else { return false }
      case .logged:
        var done: UInt64 = 0
        while done < run.length {
          let count = min(ZeroReader.step, run.length - done)
          let part = UnsafeMutableRawBufferPointer(rebasing: reader.buffer[..<Int(count)])
          try layers[depth].readLogged(into: part, at: run.fileOffset + done)
          guard UnsafeRawBufferPointer(part).isAllZero else { return false }
          done += count
          reader.count += count
          try check()
        }
      default: break
      }
      position += run.length
    }
    return true
  }
}

extension HostFile {
  /// Whether a range of the file holds nothing but zeros.
  func isZero(
    _ range: Range<UInt64>, _ reader: VirtualDisk.ZeroReader, check: () throws(ImageError) -> Void
  ) throws(ImageError) -> Bool {
    var position = range.lowerBound
    while position < range.upperBound {
      if reader.known?.file != ObjectIdentifier(self) || reader.known?.range.contains(position) != true {
        guard let data = nextData(from: position, end: range.upperBound) else { break }
        let hole = nextHole(from: data, end: UInt64(Int64.max))
        guard hole > data else { break }
        reader.known = (ObjectIdentifier(self), data..<hole)
        position = data
      }
      let hole = min(reader.known?.range.upperBound ?? 0, range.upperBound)
      while position < hole {
        let count = min(VirtualDisk.ZeroReader.step, hole - position)
        let part = UnsafeMutableRawBufferPointer(rebasing: reader.buffer[..<Int(count)])
        try read(into: part, at: position)
        guard UnsafeRawBufferPointer(part).isAllZero else { return false }
        position += count
        reader.count += count
        try check()
      }
    }
    return true
  }
}
