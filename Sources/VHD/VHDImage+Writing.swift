import Glibc
import Storage

extension VHDImage {
  public func beginWriting() throws(ImageError) {
    if let blocks { return try blocks.beginWriting() }
    try fixedPhase.withLock { (phase) throws(ImageError) in
      switch phase {
      case .writing: return
      case .refused(let reason): throw reason
      case .reading, .finishing: break
      }
      guard file.isWritable else {
        throw ImageError(errno: .readOnlyFileSystem, "\(escaped(file.path)): was opened for reading only")
      }
      // A second time the byte is there already.
      if search.tail == .short, try file.size() == search.fileSize {
        // The same bytes at the same place, and the last one, which was missing; durable before the first
        // change.
        let bytes = ByteBuffer(copying: search.bytes)
        try file.write(bytes.readable, at: search.tailOffset)
        try file.flush()
      }
      phase = .writing
    }
  }

  public var isWriting: Bool {
    if let blocks { return blocks.isWriting }
    return fixedPhase.withLock { if case .writing = $0 { true } else { false } }
  }

  public var isInSession: Bool {
    if let blocks { return blocks.isInSession }
    return fixedPhase.withLock {
      switch $0 {
      case .writing, .finishing, .refused: true
      case .reading: false
      }
    }
  }

  public func drain() {
    if let blocks { return blocks.drain() }
    let wanted = gate.current + 2
    // Under the lock, because steps of the epoch must take turns.
    while fixedPhase.withLock({ _ in gate.advance() }) < wanted { usleep(100) }
  }

  public func prepareWrite(
    at offset: UInt64, limit: UInt64, mayAllocate: Bool, mayWait: Bool
  ) throws(ImageError) -> WriteRun {
    precondition(offset < virtualSize && limit > 0, "the caller keeps ranges inside the disk")
    if let blocks {
      return try blocks.prepareWrite(at: offset, limit: limit, mayAllocate: mayAllocate, mayWait: mayWait)
    }
    guard try mayChangeFixed() else { return WriteRun(.unknown, length: limit, diskOffset: offset) }
    return WriteRun(.ready, length: min(limit, virtualSize - offset), diskOffset: offset, fileOffset: offset)
  }

  public func completeWrite(_ run: WriteRun) throws(ImageError) {
    try blocks?.completeWrite(run)
  }

  public func zero(at offset: UInt64, limit: UInt64) throws(ImageError) -> WriteRun {
    precondition(offset < virtualSize && limit > 0, "the caller keeps ranges inside the disk")
    if let blocks { return try blocks.zero(at: offset, limit: limit) }
    guard try mayChangeFixed() else { return WriteRun(.unknown, length: limit, diskOffset: offset) }
    let length = min(limit, virtualSize - offset)
    try file.punch(at: offset, length: length)
    return WriteRun(.done, length: length, diskOffset: offset)
  }

  public var hasUncommittedChanges: Bool { blocks?.hasUncommittedChanges ?? false }
  public var wantsCommit: Bool { blocks?.wantsCommit ?? false }

  public func commit() throws(ImageError) {
    if let blocks { return try blocks.commit() }
    if case .refused(let error) = fixedPhase.withLock({ $0 }) { throw error }
    do throws(ImageError) {
      // Also where nothing was written: a program that was killed before it could flush may have written what is read.
      try file.flush()
    } catch {
      let refusal = BlockStore.flushFailed(file, error)
      fixedPhase.withLock { $0 = .refused(refusal) }
      throw refusal
    }
  }

  public func finishWriting() throws(ImageError) {
    if let blocks { return try blocks.finishWriting() }
    let began = fixedPhase.withLock { phase -> Bool in
      guard case .writing = phase else { return false }
      phase = .finishing
      return true
    }
    guard began else { return try commit() }
    // A write that is under way now would be flushed by nobody afterwards.
    drain()
    defer { fixedPhase.withLock { if case .finishing = $0 { $0 = .reading } } }
    try commit()
  }

  private func mayChangeFixed() throws(ImageError) -> Bool {
    try fixedPhase.withLock { (phase) throws(ImageError) -> Bool in
      switch phase {
      case .writing: true
      case .refused(let reason): throw reason
      case .reading, .finishing: false
      }
    }
  }
}
