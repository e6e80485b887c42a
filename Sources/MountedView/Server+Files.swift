import CFuse
import Glibc
import Storage
import Synchronization
import SystemPackage
import VirtualDisk

/// Opening, closing, flushing, and what else is asked of an open file.
extension Server {
  /// Flags of an OPEN's answer, by the kernel's protocol.
  private enum OpenFlags {
    static let directIO: UInt32 = 1 << 0
    static let noFlush: UInt32 = 1 << 5
    static let parallelDirectWrites: UInt32 = 1 << 6
  }

  // MARK: - Opening

  func open(_ request: Request, _ number: NodeNumber, flags: Int32) {
    switch tree.node(number) {
    case .place(let image, .disk):
      openRaw(request, image, flags: flags) {
        $0.size == 0 ? nil : PartitionWindow(number: 0, firstByte: 0, length: $0.size)
      }
    case .place(let image, .partition(let index)):
      openRaw(request, image, flags: flags) { [unowned self] disk in
        image.knownPartitions.map { $0.first { $0.number == index } }
          ?? partitions(of: image, on: disk).first { $0.number == index }
      }
    case .place(let image, .facts(let file)):
      openFacts(request, image, ControlQuery(file), flags: flags)
    case .query(let image, let query):
      openFacts(request, image, query, flags: flags)
    case .point(_, let point, let place):
      openPoint(request, point, place, flags: flags)
    case .daemon:
      replyOpened(request, OpenFacts(Array("process \(getpid())\n".utf8)))
    case .job(let id, let format): openJob(request, id, format, flags: flags)
    case .root, .jobs, .place, nil:
      request.fail(EISDIR)
    }
  }

  private func openRaw(
    _ request: Request, _ image: ImageView, flags: Int32,
    window: @escaping @Sendable (VirtualDisk) -> PartitionWindow?
  ) {
    // The kernel may remember a name for a moment that another file has now.
    guard tree.isPresent(image) else { return request.fail(ESTALE) }
    let wantsWriting = flags & O_ACCMODE != O_RDONLY
    // O_TRUNC is passed over, as on a block device; O_APPEND has no place to append to, and writes fail
    // there.
    guard openFiles.begin() else {
      image.note(
        ImageError(
          errno: Errno(rawValue: ESHUTDOWN),
          "\(escaped(image.name)): not opened, because the mount is stopping "
            + "as soon as the files that are open are closed"
        ))
      return request.fail(ESHUTDOWN)
    }
    tasks.add { [unowned self] in
      do throws(ImageError) {
        let handle = try library.open(image.name, access: wantsWriting ? .write : .read)
        guard let place = window(handle.disk) else {
          try handle.close()
          throw ImageError(
            .objectNotFound,
            "\(escaped(image.name)): there is no such partition any more; list partitions again")
        }
        let file = RawFile(
          image: image, handle: handle, base: place.firstByte, length: place.length, log: log)
        if wantsWriting {
          image.writers.add(1, ordering: .acquiringAndReleasing)
          openFiles.remember(file)
        }
        image.openFiles.add(1, ordering: .acquiringAndReleasing)
        // A descriptor that cannot write has nothing to say when it is closed.
        let answer =
          OpenFlags.directIO | OpenFlags.parallelDirectWrites | (wantsWriting ? 0 : OpenFlags.noFlush)
        let reference = OpenFile.handle(file)
        if !request.replyOpened(handle: reference, flags: answer) { close(reference) }
      } catch {
        image.note(error)
        request.fail(error.replyCode)
        fileEnded()
      }
    }
  }

  func replyOpened(_ request: Request, _ file: OpenFacts) {
    replyOpened(request, facts: OpenFile.handle(file))
  }
  func replyOpened(_ request: Request, _ file: OpenStream) {
    replyOpened(request, facts: OpenFile.handle(file))
  }
  func replyOpened(_ request: Request, _ file: OpenExchange) {
    replyOpened(request, facts: OpenFile.handle(file))
  }

  private func replyOpened(_ request: Request, facts reference: UInt64) {
    // The size of a control file is not known before it is read: the kernel must not go by it.
    if !request.replyOpened(handle: reference, flags: OpenFlags.directIO | OpenFlags.noFlush) {
      close(reference)
    }
  }

  // MARK: - Closing

  func release(_ request: Request, handle: UInt64) {
    if case .facts = OpenFile(handle: handle) {
      close(handle)
      request.succeed()
    } else {
      // Nobody waits for the answer; the close of a disk may have to write.
      tasks.add { [unowned self] in
        close(handle)
        request.succeed()
      }
    }
  }

  /// Gives up the reference that the handle stands for.
  private func close(_ handle: UInt64) {
    switch OpenFile(handle: handle) {
    case .facts(let reference): reference.release()
    case .stream(let reference):
      let stream = reference.takeRetainedValue()
      note(image: stream.image) { () throws(ImageError) in try stream.close() }
    case .exchange(let reference):
      let exchange = reference.takeRetainedValue()
      note(image: exchange.image) { () throws(ImageError) in try exchange.close() }
    case .raw(let reference):
      let file = reference.takeRetainedValue()
      if file.isWritable {
        file.image.writers.subtract(1, ordering: .acquiringAndReleasing)
        openFiles.forget(file)
      }
      file.image.openFiles.subtract(1, ordering: .acquiringAndReleasing)
      note(image: file.image) { () throws(ImageError) in
        do throws(ImageError) {
          try file.handle.close()
        } catch {
          if file.isWritable { noteLoss(error) }
          throw error
        }
      }
      fileEnded()
    case nil: break
    }
  }

  /// Does what nobody waits for: an error goes into the image's `error` and into the log.
  private func note(image: ImageView, _ body: () throws(ImageError) -> Void) {
    do throws(ImageError) {
      try body()
    } catch {
      image.note(error)
      log.error("\(error.description)")
    }
  }

  private func fileEnded() {
    if openFiles.end() { lastFileClosed() }
  }

  // MARK: - Of an open file

  /// A raw file behind a handle, with work that may wait, on a task's thread.
  private func withRaw(_ request: Request, _ handle: UInt64, _ body: @escaping @Sendable (RawFile) -> Void) {
    guard case .raw(let reference) = OpenFile(handle: handle) else { return request.succeed() }
    let file = reference._withUnsafeGuaranteedRef { $0 }
    tasks.add { body(file) }
  }

  func flush(_ request: Request, handle: UInt64) {
    if case .raw(let reference) = OpenFile(handle: handle),
      reference._withUnsafeGuaranteedRef({ $0.isWritable })
    {
      withRaw(request, handle) { $0.descriptorClosed(request) }
    } else {
      request.succeed()
    }
  }

  func synchronize(_ request: Request, handle: UInt64) {
    withRaw(request, handle) { $0.flush(request) }
  }

  func seek(_ request: Request, handle: UInt64, offset: UInt64, whence: Int32) {
    guard case .raw = OpenFile(handle: handle) else { return request.fail(EINVAL) }
    switch whence {
    case 3: withRaw(request, handle) { $0.seekData(from: offset, request) }  // SEEK_DATA
    case 4: withRaw(request, handle) { $0.seekHole(from: offset, request) }  // SEEK_HOLE
    default: request.fail(EINVAL)
    }
  }

  func allocate(_ request: Request, handle: UInt64, mode: Int32, offset: UInt64, length: UInt64) {
    guard case .raw(let reference) = OpenFile(handle: handle) else { return request.fail(EOPNOTSUPP) }
    let keepSize: Int32 = 0x01
    let punchHole: Int32 = 0x02
    let zeroRange: Int32 = 0x10
    let (isWritable, size) = reference._withUnsafeGuaranteedRef { ($0.isWritable, $0.length) }
    guard isWritable else { return request.fail(EBADF) }
    switch mode {
    case punchHole | keepSize, zeroRange | keepSize: break
    case zeroRange:
      guard offset <= size, length <= size - offset else { return request.fail(ENOSPC) }
    default: return request.fail(EOPNOTSUPP)
    }
    withRaw(request, handle) { $0.zero(at: offset, length: length, request) }
  }
}
