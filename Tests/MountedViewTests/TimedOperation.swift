import Glibc
import ImageManagement
import Storage
import VirtualDisk

/// An operation that takes as long as it is told and changes nothing: `milliseconds=3000`. With `deaf` it cannot be
/// cancelled, with `fail` it fails at its end; `bogus` is refused.
final class TimedOperation: Operation {
  /// That of the first operation, whose control file it stands behind.
  static let word = Operations.all[0].word
  static let jobType = JobType.compaction

  private let chain: OfflineChain
  private let milliseconds: UInt64
  private let isDeaf: Bool
  private let fails: Bool

  init(_ request: OperationRequest) throws(ImageError) {
    var words = request.words
    isDeaf = words.take(flag: "deaf")
    fails = words.take(flag: "fail")
    milliseconds = UInt64(try words.take(key: "milliseconds") ?? "0") ?? 0
    try words.failIfLeft(TimedOperation.word, known: "milliseconds=N, deaf or fail")
    chain = try request.library.takeOffline(request.image, for: request.holder)
  }

  var link: OperationLink? { OperationLink(child: chain.paths[0], parent: "/none") }

  func run(_ progress: OperationProgress) throws(ImageError) -> [ReportField] {
    progress.expect(milliseconds)
    var done: UInt64 = 0
    while done < milliseconds {
      if !isDeaf { try progress.failIfCancelled(escaped(chain.paths[0])) }
      usleep(10_000)
      progress.advance(by: 10)
      done += 10
    }
    if fails { throw ImageError(errno: .noSpace, "\(escaped(chain.paths[0])): the host is full") }
    return [ReportField("blocks_freed", .number(7))]
  }

  func close() { chain.close() }
}
