import CFuse
import Glibc
import Storage

/// Reads and writes of raw files: the hot path. Nothing is allocated here, and no lock is taken.
extension Server {
  func read(_ request: Request, handle: UInt64, offset: UInt64, length: Int) {
    switch OpenFile(handle: handle) {
    case .raw(let reference):
      reference._withUnsafeGuaranteedRef { file in
        let count = file.inside(min(length, ReceiveBuffers.largestTransfer), at: offset)
        if count == 0 { return request.replyEmpty() }
        let target = UnsafeMutableRawBufferPointer(rebasing: answer[..<count])
        do throws(ImageError) {
          if try file.disk.read(into: target, at: file.base + offset, mayWait: false) {
            request.reply(UnsafeRawBufferPointer(target))
          } else {
            transfers.add(
              TransferJob(kind: .read, request: request, file: reference, offset: offset, length: count))
          }
        } catch {
          file.fail(request, error)
        }
      }
    case .facts(let reference):
      reference._withUnsafeGuaranteedRef { $0.read(at: offset, length: length, request) }
    case .stream(let reference):
      let stream = reference._withUnsafeGuaranteedRef { $0 }
      tasks.add { stream.read(at: offset, length: length, request) }
    case .exchange(let reference):
      read(request, from: reference._withUnsafeGuaranteedRef { $0 }, at: offset, length: length)
    case nil:
      request.fail(EBADF)
    }
  }

  func write(
    _ request: Request, handle: UInt64, bytes: UnsafeRawBufferPointer, offset: UInt64, synchronous: Bool
  ) {
    if case .exchange(let reference) = OpenFile(handle: handle) {
      return write(request, to: reference._withUnsafeGuaranteedRef { $0 }, bytes: bytes)
    }
    guard case .raw(let reference) = OpenFile(handle: handle) else { return request.fail(EBADF) }
    reference._withUnsafeGuaranteedRef { file in
      guard file.isWritable else { return request.fail(EBADF) }
      let count = file.inside(bytes.count, at: offset)
      if count == 0 { return bytes.count == 0 ? request.replyWritten(0) : request.fail(ENOSPC) }
      let began = monotonicNanoseconds()
      if !synchronous && !slowWrites.shouldHandOver(at: began) {
        file.noteChange()
        do throws(ImageError) {
          let inside = UnsafeRawBufferPointer(rebasing: bytes[..<count])
          let isDone = try file.disk.write(inside, at: file.base + offset, mayWait: false)
          slowWrites.note(began: began, ended: monotonicNanoseconds())
          if isDone { return request.replyWritten(count) }
        } catch {
          return file.fail(request, error)
        }
      }
      // The bytes lie in the buffer that the request was received in: the worker keeps it, the loop takes
      // another.
      transfers.add(
        TransferJob(
          kind: .write, isSynchronous: synchronous, request: request, file: reference, offset: offset,
          length: count, bytes: bytes.baseAddress, receiveBuffer: receiving))
      receiving = buffers.take()
    }
  }
}
