import Glibc
import ImageManagement
import Storage
import Synchronization
import VirtualDisk

/// An open answer that may have millions of lines, a map or a list of changes: written piece by piece as it is read.
///
/// Reading from the front to the end makes each piece once; reading again from before the piece at hand
/// begins anew. The disk is held open until the release.
final class OpenStream: Sendable {
  /// A report of which piece after piece is asked for.
  enum Report {
    case map(MapReport)
    case changes(ChangesReport)

    mutating func nextPiece() throws(ImageError) -> [UInt8]? {
      switch self {
      case .map(var report):
        let piece = try report.nextPiece()
        self = .map(report)
        return piece
      case .changes(var report):
        let piece = try report.nextPiece()
        self = .changes(report)
        return piece
      }
    }
  }

  private struct State {
    /// Nil before the first piece is asked for.
    var report: Report?
    /// The piece at hand, and the position of its first byte.
    var piece: [UInt8] = []
    var start: UInt64 = 0
  }

  let image: ImageView
  private let handle: DiskHandle
  private let seat: OpenAnswers.Seat
  private let make: @Sendable (VirtualDisk) throws(ImageError) -> Report
  private let state = Mutex(State())

  /// - Parameter make: begins the report.
  init(
    image: ImageView, handle: DiskHandle, seat: OpenAnswers.Seat,
    make: @escaping @Sendable (VirtualDisk) throws(ImageError) -> Report
  ) {
    self.image = image
    self.handle = handle
    self.seat = seat
    self.make = make
  }

  /// Makes the first piece, so that what is wrong is known before anything is read. Waits.
  func begin() throws(ImageError) { _ = try bytes(at: 0, length: 1) }

  /// Gives the disk back. Waits.
  func close() throws(ImageError) { try handle.close() }

  /// Waits for the medium.
  func read(at position: UInt64, length: Int, _ request: Request) {
    do throws(ImageError) {
      request.reply(try bytes(at: position, length: length))
    } catch {
      image.note(error)
      request.fail(error.errno.rawValue)
    }
  }

  /// Fewer bytes than asked for at the end only. Waits.
  func bytes(at position: UInt64, length: Int) throws(ImageError) -> [UInt8] {
    try state.withLock { state throws(ImageError) in
      var report: Report
      if let begun = state.report, position >= state.start {
        report = begun
        state.report = nil
      } else {
        state = State()
        report = try make(handle.disk)
      }
      defer { state.report = report }
      while position >= state.start + UInt64(state.piece.count) {
        guard let next = try report.nextPiece() else { return [] }
        state.start += UInt64(state.piece.count)
        state.piece = next
      }
      var found = Array(state.piece[Int(position - state.start)...].prefix(length))
      // A short answer is the end of the file to the reader: go on with the pieces that follow.
      while found.count < length, let next = try report.nextPiece() {
        state.start += UInt64(state.piece.count)
        state.piece = next
        found += next.prefix(length - found.count)
      }
      return found
    }
  }
}
