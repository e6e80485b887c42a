import Storage
import Synchronization
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
public final class Merge: Operation {
  public static let word = "merge"
  public static let jobType = JobType.merging

  private static let known = "a path, force, sole-writer, delete, relink, dry-run"

  private let chain: OfflineChain
  private let depth: Int
  private let merge: ChainMerge
  private let choices: Choices
  /// Files that show wrong data afterwards.
  private let orphans: [KnownChild]
  /// Records that end by it.
  private let endedRecords: [DoubtfulRecord]
  private let children: [TakenChild]

  private struct Choices {
    var isForced = false
    var isSoleWriter = false
    var deletes = false
    var relinks = false
    var isDry = false
  }

  public var link: OperationLink? { OperationLink(child: chain.paths[0], parent: chain.paths[depth]) }

  public init(_ request: OperationRequest) throws(ImageError) {
    var words = request.words
    var choices = Choices()
    choices.isForced = words.take(flag: "force")
    choices.isSoleWriter = words.take(flag: "sole-writer")
    choices.deletes = words.take(flag: "delete")
    choices.relinks = words.take(flag: "relink")
    choices.isDry = words.take(flag: "dry-run")
    let path = try words.take(key: "into") ?? words.takeFirst()
    try words.failIfLeft(Merge.word, known: Merge.known)
    self.choices = choices

    if !choices.isForced { try Merge.checkIsWhole(request.library.entry(named: request.image)) }
    let chain = try request.library.takeOffline(request.image, for: request.holder)
    do throws(ImageError) {
      depth = try Merge.depth(of: path, in: chain, request)
      for level in 1...depth { try chain.rewrite(at: level) }
      merge = chain.merge(into: depth, isSoleWriter: choices.isSoleWriter)
      try merge.check()
      orphans = try Merge.orphans(chain, depth, isForced: choices.isForced)
      children = try Merge.children(chain, choices)
      endedRecords = try Merge.endedRecords(chain, depth, children, choices)
    } catch {
      chain.close()
      throw error
    }
    self.chain = chain
  }

  /// Past which another image was merged shows what it holds over that image's data: brought down, that would
  /// overwrite what was merged, and perhaps the only copy of it.
  private static func checkIsWhole(_ image: ImageEntry) throws(ImageError) {
    guard let source = image.validOnlyBelow else { return }
    throw ImageError(
      .invalidState,
      "\(escaped(image.path)): \(escaped(source)) was merged past it, and it reads right only as a part of that chain; "
        + "merged alone it would overwrite what was merged: merge \(escaped(source)) instead, or say force")
  }

  /// Which file of the chain is meant.
  private static func depth(
    of path: String?, in chain: OfflineChain, _ request: OperationRequest
  ) throws(ImageError) -> Int {
    let own = escaped(chain.paths[0])
    guard chain.hasParent else {
      throw ImageError(
        .notSupported, "\(own): is not differencing, so there is nothing that it could be merged into")
    }
    guard let path else { return 1 }
    let identity =
      switch request.origin {
      case .controlFile: try request.library.identity(ofPath: path, from: request.image)
      case .command: try DiskLibrary.identity(ofUserPath: path)
      }
    guard let depth = chain.depth(of: identity), depth > 0 else {
      let parents = chain.paths.dropFirst().map(escaped).joined(separator: ", ")
      throw ImageError(
        .invalidParameter, "\(escaped(path)): is no parent of \(own); those are \(parents)")
    }
    return depth
  }

  /// What stands on the destination, or on what is merged past, and not on the image.
  private static func orphans(
    _ chain: OfflineChain, _ depth: Int, isForced: Bool
  ) throws(ImageError) -> [KnownChild] {
    let orphans = chain.othersEndangered(byChanging: 1...depth)
    guard !orphans.isEmpty, !isForced else { return orphans }
    let own = escaped(chain.paths[depth])
    var sentence: String
    if orphans.certain.isEmpty {
      sentence =
        "\(own): a merge into it makes every other image useless that stands on it or on a file above it"
    } else {
      sentence =
        "\(own): a merge into it would make other images useless whose chains it or a file above it is a part of: "
        + "\(orphans.certain.list()); merge or convert them first, or say force"
    }
    if let doubts = orphans.doubts { sentence += "; \(doubts), or say force" }
    throw ImageError(.invalidState, sentence)
  }

  /// The children of the image itself: taken where they are to get another parent.
  private static func children(
    _ chain: OfflineChain, _ choices: Choices
  ) throws(ImageError) -> [TakenChild] {
    if choices.relinks { return try chain.takeChildrenOfLeaf(isSoleWriter: choices.isSoleWriter) }
    guard choices.deletes else { return [] }
    let own = chain.children(at: 0).certain
    guard own.isEmpty else {
      throw ImageError(
        .invalidState,
        "\(escaped(chain.paths[0])): cannot be deleted, because it is the parent of \(own.list()); "
          + "say relink as well")
    }
    return []
  }

  private static func endedRecords(
    _ chain: OfflineChain, _ depth: Int, _ children: [TakenChild], _ choices: Choices
  ) throws(ImageError) -> [DoubtfulRecord] {
    guard !choices.isSoleWriter else { return [] }
    let records = try chain.doubtfulRecords(to: depth, children)
    guard let first = records.first, !choices.isForced else { return records }
    throw ImageError(
      .invalidState,
      "\(escaped(first.path)): was not closed, as after a merge that was killed, and a VHD does not tell whether another "
        + "program wrote it since; merged now, its \(first.points) reference points would end for good: if no other program "
        + "wrote it, say sole-writer, which keeps them; else say force, and take a full copy")
  }

  public func run(_ progress: OperationProgress) throws(ImageError) -> [ReportField] {
    let own = chain.paths[0]
    let step = { (bytes: UInt64) throws(ImageError) in
      progress.advance(by: bytes)
      try progress.failIfCancelled("merging \(escaped(own))")
    }
    let bytes = try merge.bytesToCopy(step)
    progress.expect(bytes)
    var fields = [
      ReportField("merged_into", .text(chain.paths[depth])),
      ReportField(
        "merged_files", .list(item: "merged", chain.paths[..<depth].map { [ReportField("path", .text($0))] })),
      ReportField("bytes_copied", .number(bytes)),
    ]
    if !orphans.certain.isEmpty {
      fields.append(
        ReportField(
          "orphaned_files",
          .list(item: "orphaned", orphans.certain.map { [ReportField("path", .text($0.path))] })))
    }
    if !orphans.doubtful.isEmpty {
      fields.append(
        ReportField(
          "doubtful_files",
          .list(item: "doubtful", orphans.doubtful.map { [ReportField("path", .text($0.path))] })))
    }
    if !endedRecords.isEmpty {
      fields.append(
        ReportField(
          "ended_records",
          .list(item: "ended", endedRecords.map { [ReportField("path", .text($0.path))] })))
    }
    guard !choices.isDry else { return fields + [ReportField("dry_run", .flag(true))] }
    if !choices.isForced { try merge.checkRoom(step) }
    for record in endedRecords {
      chain.warn(
        "\(escaped(record.path)): its \(record.points) reference points end, because it was not closed and a VHD does not "
          + "tell whether another program wrote it since; sole-writer would have kept them; take a full copy")
    }
    do throws(ImageError) {
      try merge.run(step)
    } catch {
      guard error.errno == .noSpace else { throw error }
      throw ImageError(
        error.returnValue, errno: error.errno,
        "\(escaped(chain.paths[depth])): the host has no room left; the chain reads as before: make room and merge again",
        cause: error)
    }
    try relink()
    if choices.relinks {
      fields.append(
        ReportField(
          "relinked_files", .list(item: "relinked", children.map { [ReportField("path", .text($0.path))] })))
    }
    if choices.deletes {
      try deleteMergedFiles()
      fields.append(
        ReportField(
          "deleted_files",
          .list(item: "deleted", chain.paths[..<depth].map { [ReportField("path", .text($0))] })))
    }
    return fields
  }

  private func relink() throws(ImageError) {
    let destination = chain.paths[depth]
    for child in children {
      try child.relink(
        to: merge, relativePath: try RelativePath.recorded(from: child.path, to: destination),
        absolutePath: try RelativePath.resolved(destination).string)
    }
  }

  /// Everything is stable in the destination, and whoever needs it knows it.
  ///
  /// From the top, so that what is left when this ends in the middle is a chain still: one that says of itself that it is
  /// of no use any more. A VHD cannot say it, and what is left of a chain of those could be merged once more, over what
  /// was merged: so they go from the bottom, and what is left cannot be opened.
  private func deleteMergedFiles() throws(ImageError) {
    let levels = Array(0..<depth)
    for level in merge.marksMergedFiles ? levels : levels.reversed() { try chain.remove(at: level) }
  }

  public func close() {
    for child in children { child.close() }
    chain.close()
  }
}
