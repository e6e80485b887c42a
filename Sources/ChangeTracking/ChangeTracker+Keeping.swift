import Storage
import Synchronization

/// What makes the record durable, and what ends it.
extension ChangeTracker {
  /// Makes all that was written to the file durable. The caller holds `keeping`.
  ///
  /// After a flush that failed the system may have forgotten bits that it had not written, though they can still be read,
  /// and the next flush would say that all is well. So no other is believed, and the record is given up.
  func flushRecord() throws(ImageError) {
    if let lost = state.withLock({ $0.lost }) { throw lost }
    do throws(ImageError) {
      try file.flush()
    } catch {
      state.withLock { $0.lost = error }
      // Where that fails too, whoever changes the disk next tries again, and must not go on without it.
      try? invalidate(error)
      throw error
    }
  }

  /// Ends the record for good, durably, so that nobody takes it for a whole one.
  ///
  /// Errors: the host's; whoever was about to change the image must not.
  public func giveUp(_ reason: ImageError) throws(ImageError) {
    try keeping.withLock { (_) throws(ImageError) in
      if failure == nil { try invalidate(reason) }
    }
  }

  /// The same for who holds `keeping`.
  func invalidate(_ reason: ImageError) throws(ImageError) {
    // Twice: were one of them lost, the other must not speak of a record that counts.
    for _ in 0..<2 {
      try updateHeader {
        $0.state = .invalid
      } flush: { () throws(ImageError) in
        try file.flush()
      }
    }
    let mustFail = state.withLock { state -> Bool in
      state.failure = ImageError(
        .wrongDataType,
        "\(escaped(file.path)): changes could not be recorded, so the record was given up; "
          + "reset change tracking, and \(TrackingError.advice)", cause: reason)
      return isStrict && state.lost != nil
    }
    if !mustFail { status.store(Status.idle, ordering: .sequentiallyConsistent) }
  }

  /// Makes `change` durable in the header that is not the newest; what goes with it in memory is done by `also`, in
  /// one step with it. The caller holds `keeping`.
  func updateHeader(
    _ change: (inout TrackingHeader) -> Void, also: (inout TrackerState) -> Void = { _ in }
  ) throws(ImageError) {
    try updateHeader(change, also: also) { () throws(ImageError) in try flushRecord() }
  }

  private func updateHeader(
    _ change: (inout TrackingHeader) -> Void, also: (inout TrackerState) -> Void = { _ in },
    flush: () throws(ImageError) -> Void
  ) throws(ImageError) {
    var (next, slot) = state.withLock { ($0.header, 1 - $0.headerSlot) }
    change(&next)
    next.sequence += 1
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: TrackingFormat.pageSize, alignment: 4096)
    defer { bytes.deallocate() }
    next.encode(into: bytes)
    try file.write(UnsafeRawBufferPointer(bytes), at: TrackingFormat.headerOffsets[slot])
    // Whatever relies on the header comes after this; the other is whole until here.
    try flush()
    state.withLock { state in
      state.header = next
      state.headerSlot = slot
      also(&state)
    }
  }
}
