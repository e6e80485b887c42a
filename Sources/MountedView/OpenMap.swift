import Glibc
import ImageManagement
import Storage
import Synchronization
import VirtualDisk

/// An open map: written piece by piece as it is read, because it may have millions of lines.
///
/// Reading from the front to the end makes each piece once; reading again from before the piece at hand
/// begins anew. The disk is held open until the release.
final class OpenMap: Sendable {
  private struct State {
    var report: MapReport
    /// The piece at hand, and the position of its first byte.
    var piece: [UInt8] = []
    var start: UInt64 = 0
  }

  let image: ImageView
  let handle: DiskHandle
  private let format: ReportFormat
  private let range: Range<UInt64>
  private let seat: OpenAnswers.Seat
  private let state: Mutex<State>

  /// - Parameter range: bytes of the disk, inside it.
  init(
    image: ImageView, handle: DiskHandle, range: Range<UInt64>, format: ReportFormat, seat: OpenAnswers.Seat
  ) {
    self.image = image
    self.handle = handle
    self.range = range
    self.format = format
    self.seat = seat
    let disk = handle.disk
    state = Mutex(
      State(report: MapReport(of: disk, from: range.lowerBound, length: UInt64(range.count), as: format)))
  }

  /// Waits for the medium.
  func read(at position: UInt64, length: Int, _ request: Request) {
    do throws(ImageError) {
      request.reply(try bytes(at: position, length: length))
    } catch {
      image.note(error)
      request.fail(error.replyCode)
    }
  }

  private func bytes(at position: UInt64, length: Int) throws(ImageError) -> [UInt8] {
    try state.withLock { state throws(ImageError) in
      if position < state.start {
        let fresh = MapReport(
          of: handle.disk, from: range.lowerBound, length: UInt64(range.count), as: format)
        state = State(report: fresh)
      }
      while position >= state.start + UInt64(state.piece.count) {
        guard let next = try state.report.nextPiece() else { return [] }
        state.start += UInt64(state.piece.count)
        state.piece = next
      }
      var found = Array(state.piece[Int(position - state.start)...].prefix(length))
      // A short answer is the end of the file to the reader: go on with the pieces that follow.
      while found.count < length, let next = try state.report.nextPiece() {
        state.start += UInt64(state.piece.count)
        state.piece = next
        found += next.prefix(length - found.count)
      }
      return found
    }
  }
}
