import Storage
import VirtualDisk

/// Merges an image into a file of its chain: that file then reads as the image did.
///
///     [into=]PATH  force  sole-writer  delete  relink  dry-run
///
/// Without a path the image's direct parent. What may not be used any more afterwards, other children of the files that
/// are merged past, is named, and the merge refused unless `force` is there. Nothing is removed or linked anew unless asked.
///
/// A VHD that was not closed, as after a merge that was killed, does not tell whether another program wrote it since: the
/// record of its changes counts only with `sole-writer`. Points that a run would end for want of that word cannot be had back,
/// so it is refused; with `force` it goes on without them.
///
/// A run that ended between the merge and the end of what was asked besides is told from one that did not merge: the next one
/// only relinks and removes (`MergeTask`).
public final class Merge: Operation {
  public static let word = "merge"
  public static let jobType = JobType.merging

  let chain: OfflineChain
  let depth: Int
  let merge: ChainMerge
  let choices: MergeChoices
  let children: [TakenChild]
  private let task: MergeTask
  /// What shows wrong data afterwards, or may.
  private let orphans: MergeOrphans
  /// Images whose points do not move over, and why.
  private let endedRecords: [(path: String, reason: String)]

  public var link: OperationLink? { OperationLink(child: chain.paths[0], parent: chain.paths[depth]) }

  public init(_ request: OperationRequest) throws(ImageError) {
    var words = request.words
    let choices = try MergeChoices(&words)
    self.choices = choices
    let chain = try Merge.take(request, choices)
    do throws(ImageError) {
      depth = try Merge.depth(of: choices.path, in: chain, request)
      merge = chain.merge(into: depth, isSoleWriter: choices.isSoleWriter)
      task = try Merge.task(chain, depth, merge, choices)
      if case .removal = task {
        orphans = MergeOrphans()
        children = []
        endedRecords = []
      } else {
        let changesDestination = task.changesDestination
        for level in 1...depth where changesDestination || choices.deletes && level < depth {
          try chain.rewrite(at: level)
        }
        if changesDestination { try merge.check() }
        orphans = MergeOrphans(chain, depth, task, choices)
        if !choices.isForced, let refusal = orphans.refusal(chain, depth, task) { throw refusal }
        children = try Merge.children(chain, choices)
        endedRecords = try Merge.endedRecords(chain, depth, children, task, choices)
      }
      if choices.deletes { for level in 0..<depth { try chain.checkRemovable(at: level) } }
      try Merge.checkRelinking(chain, depth, merge, children)
    } catch {
      chain.close()
      throw error
    }
    self.chain = chain
  }

  public func run(_ progress: OperationProgress) throws(ImageError) -> [ReportField] {
    if case .removal = task { return try removeLeftover() }
    let own = chain.paths[0]
    let step = { (bytes: UInt64) throws(ImageError) in
      progress.advance(by: bytes)
      try progress.failIfCancelled("merging \(escaped(own))")
    }
    let bytes = task.changesDestination ? try merge.bytesToCopy(step) : 0
    let isDone = try isDone(bytes, progress, step)
    var fields = [
      ReportField("merged_into", .text(chain.paths[depth])),
      files("merged_files", "merged", Array(chain.paths[..<depth])),
      ReportField("bytes_copied", .number(isDone ? 0 : bytes)),
    ]
    if isDone { fields.append(ReportField("already_merged", .flag(true))) }
    let orphans = isDone ? orphans.whenDone : orphans.whenMerged
    for (key, item, found) in [
      ("orphaned_files" as StaticString, "orphaned" as StaticString, orphans.certain),
      ("doubtful_files", "doubtful", orphans.doubtful),
    ] where !found.isEmpty {
      fields.append(files(key, item, found.map(\.path)))
    }
    if !isDone, !endedRecords.isEmpty {
      fields.append(files("ended_records", "ended", endedRecords.map(\.path)))
    }
    guard !choices.isDry else { return fields + [ReportField("dry_run", .flag(true))] }
    if !isDone { try copy(bytes, progress, step) }
    try relink()
    if choices.relinks { fields.append(files("relinked_files", "relinked", children.map(\.path))) }
    if choices.deletes {
      try deleteMergedFiles()
      fields.append(files("deleted_files", "deleted", Array(chain.paths[..<depth])))
    }
    return fields
  }

  /// Whether the destination reads as the source does already, so that it is left alone. A VHD does not say so: it is
  /// compared, where another child of it would be lost by a change.
  private func isDone(
    _ bytes: UInt64, _ progress: OperationProgress, _ step: (UInt64) throws(ImageError) -> Void
  ) throws(ImageError) -> Bool {
    guard case .mergeUnlessSame = task else { return !task.changesDestination }
    progress.expect(bytes)
    let isSame = try merge.readsTheSame(step)
    if isSame, try merge.hasPointsOfAll() { return true }
    guard !choices.isForced else { return false }
    throw isSame
      ? Merge.newPoints(chain, depth) : MergeOrphans.refusal(chain, depth, orphans.whenMerged)
  }

  private func copy(
    _ bytes: UInt64, _ progress: OperationProgress, _ step: (UInt64) throws(ImageError) -> Void
  ) throws(ImageError) {
    progress.expect(bytes)
    if !choices.isForced { try merge.checkRoom(step) }
    for record in endedRecords { chain.warn("\(escaped(record.path)): \(record.reason)") }
    do throws(ImageError) {
      try merge.run(step)
    } catch {
      guard error.errno == .noSpace else { throw error }
      throw ImageError(
        error.returnValue, errno: error.errno,
        "\(escaped(chain.paths[depth])): the host has no room left; the chain reads as before: make room and merge again",
        cause: error)
    }
  }

  func files(_ key: StaticString, _ item: StaticString, _ paths: [String]) -> ReportField {
    ReportField(key, .list(item: item, paths.map { [ReportField("path", .text($0))] }))
  }

  public func close() {
    for child in children { child.close() }
    chain.close()
  }
}
