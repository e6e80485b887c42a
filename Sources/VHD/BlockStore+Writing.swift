import Storage

extension BlockStore {
  /// See `FormatImage.prepareWrite`.
  func prepareWrite(
    at offset: UInt64, limit: UInt64, mayAllocate: Bool, mayWait: Bool
  ) throws(ImageError) -> WriteRun {
    let (file, length) = (file, min(limit, layout.virtualSize - offset))
    let run = try resolve(mayWait: mayWait) { (state, source) throws(ImageError) -> Step<WriteRun> in
      try state.prepareWrite(offset, length, mayAllocate: mayAllocate, mayWait: mayWait, file, source)
    }
    return run
      ?? WriteRun(
        .unknown, length: min(length, layout.blockSize - offset % layout.blockSize), diskOffset: offset)
  }

  /// See `FormatImage.completeWrite`.
  func completeWrite(_ run: WriteRun) throws(ImageError) {
    let file = file
    _ = try resolve(mayWait: true) { (state, source) throws(ImageError) -> Step<Bool> in
      try state.completeWrite(run, file, source)
    }
  }

  var isWriting: Bool { state.withLock { $0.isWriting } }

  var isInSession: Bool {
    state.withLock {
      switch $0.phase {
      case .writing, .finishing, .refused: true
      case .reading: false
      }
    }
  }
  var hasUncommittedChanges: Bool { state.withLock { $0.hasUncommittedChanges } }
  var wantsCommit: Bool { state.withLock { $0.wantsCommit } }

  /// Flushes the file. After a failure nobody knows what it holds: no more writes.
  func flush() throws(ImageError) {
    do throws(ImageError) {
      try file.flush()
    } catch {
      let reason = BlockStore.flushFailed(file, error)
      state.withLock { $0.phase = .refused(reason) }
      throw reason
    }
  }

  static func flushFailed(_ file: HostFile, _ error: ImageError) -> ImageError {
    ImageError(
      error.returnValue, errno: error.errno,
      "\(escaped(file.path)): a flush failed, so it is not known which writes reached the medium; the "
        + "image takes "
        + "no more writes: unmount it, look for the cause, and check the disk", cause: error)
  }
}
