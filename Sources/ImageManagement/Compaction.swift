import Storage
import VirtualDisk

/// Gives the room of an image back that its disk does not use: `compact`.
///
/// Words: a mode by name or number (none: full for VHD, quick for VHDX), `dry-run`.
public struct Compaction: Operation {
  public static let word = "compact"
  public static let jobType = JobType.compaction

  public let mode: CompactionMode
  public let isDryRun: Bool
  private let chain: OfflineChain
  private let disk: VirtualDisk
  private let before: ImageFacts

  public init(_ request: OperationRequest) throws(ImageError) {
    var words = request.words
    isDryRun = words.take(flag: "dry-run")
    let named = try words.take(key: "mode") ?? words.takeFirst()
    let asked: CompactionMode? =
      if let named, !named.isEmpty { try CompactionMode(named) } else { nil }
    try words.failIfLeft(Compaction.word, known: "full, quick, retrim, pretrimmed or prezeroed, and dry-run")

    let entry = try request.library.entry(named: request.image)
    if case .success(let facts) = entry.facts { try Compaction.checkType(facts, entry.path) }
    let chain = try request.library.takeOffline(request.image, for: request.holder)
    do throws(ImageError) {
      let disk = chain.disk(at: 0)
      let facts = try disk.leafFacts()
      let path = chain.paths[0]
      try Compaction.checkType(facts, path)
      guard facts.isInSavedState != true else {
        throw ImageError(
          .invalidState,
          "\(escaped(path)): its virtual machine is in saved state, which a compaction would break; start the machine and "
            + "shut it down first")
      }
      mode = asked ?? CompactionMode(format: facts.format)
      try Compaction.checkChildren(chain, mode)
      self.chain = chain
      self.disk = disk
      before = facts
    } catch {
      chain.close()
      throw error
    }
  }

  /// Fixed VHD and sets have no blocks to give up.
  private static func checkType(_ facts: ImageFacts, _ path: String) throws(ImageError) {
    if facts.format == .vhds {
      throw ImageError(
        .notSupported, "\(escaped(path)): is a set file, which has no disk of its own; compact its layers")
    }
    if facts.format == .vhd, facts.type == .fixed {
      throw ImageError(
        .notSupported,
        "\(escaped(path)): is a fixed VHD, which always has its full size; convert it to a dynamic image")
    }
  }

  /// A child reads through to free space too: what becomes zero there would change it.
  private static func checkChildren(_ chain: OfflineChain, _ mode: CompactionMode) throws(ImageError) {
    guard mode.asksFileSystems else { return }
    let children = chain.children(at: 0)
    guard !children.isEmpty else { return }
    let own = escaped(chain.paths[0])
    var sentence = "\(own): a compaction by what is free now would change what its children read"
    if !children.certain.isEmpty {
      sentence =
        "\(own): is the parent of \(children.certain.list()), which a compaction by what is free now would change"
    }
    sentence += "; use prezeroed or pretrimmed, or compact the child"
    if let doubts = children.doubts { sentence += "; \(doubts)" }
    throw ImageError(.invalidState, sentence)
  }

  public func run(_ progress: OperationProgress) throws(ImageError) -> [ReportField] {
    let path = chain.paths[0]
    let monitor = CompactionMonitor(
      expect: { progress.expect($0) }, advance: { progress.advance(by: $0) },
      check: { () throws(ImageError) in try progress.failIfCancelled(escaped(path)) })
    let space = try mode.asksFileSystems ? UnusedSpace(of: disk, monitor) : UnusedSpace()
    let plan = try disk.planCompaction(mode.choice, free: space.ranges, monitor)
    var outcome = CompactionOutcome()
    if isDryRun {
      outcome.releasedBlocks = plan.releasedCount
      outcome.movedBlocks = UInt64(plan.packing.moves.count)
      outcome.movedBytes = plan.packing.movedBytes
      outcome.trimmedBytes = plan.trimmedBytes
    } else {
      do throws(ImageError) {
        outcome = try disk.compact(plan, monitor)
      } catch {
        guard error.errno == .noSpace else { throw error }
        throw ImageError(
          error.returnValue, errno: error.errno,
          "\(escaped(path)): the host has no room left, of which moving blocks needs some; the image is valid, and what was "
            + "done stays: make room and compact again",
          cause: error)
      }
    }
    return try report(plan, outcome, space)
  }

  public func close() { chain.close() }

  private func report(
    _ plan: CompactionPlan, _ outcome: CompactionOutcome, _ space: UnusedSpace
  ) throws(ImageError) -> [ReportField] {
    let after = try disk.leafFacts().hostStatus
    var fields = [
      ReportField("mode", .text(mode.name)),
      ReportField("dry_run", .flag(isDryRun)),
      ReportField("file_size_before", .number(before.hostStatus.size)),
      ReportField("file_size_after", .number(isDryRun ? plan.packing.fileSize : after.size)),
      ReportField("allocated_size_before", .number(before.hostStatus.allocated)),
    ]
    if !isDryRun { fields.append(ReportField("allocated_size_after", .number(after.allocated))) }
    fields += [
      ReportField("blocks_freed", .number(outcome.releasedBlocks)),
      ReportField("blocks_moved", .number(outcome.movedBlocks)),
      ReportField("bytes_moved", .number(outcome.movedBytes)),
      ReportField("bytes_trimmed", .number(outcome.trimmedBytes)),
      ReportField("bytes_unused", .number(plan.packing.unusedBytes)),
      ReportField("unused_note", .text(plan.packing.obstacle?.sentence ?? "")),
      ReportField("contents_changed", .flag(plan.changesContents)),
      ReportField("partitions", .list(item: "partition", space.report)),
    ]
    return fields
  }
}

extension BlockPacking.Obstacle {
  /// Why a file keeps room that neither blocks nor its own structures have.
  fileprivate var sentence: String {
    switch self {
    case .nothingMoves: "no block moves into holes in this mode"
    case .copying(let bytes): "closing the gaps would copy \(bytes) bytes, which is out of proportion"
    case .structures: "in front of the format's own tables, which stay where they are"
    case .alignment(let bytes): "blocks begin at multiples of \(bytes) bytes"
    }
  }
}
