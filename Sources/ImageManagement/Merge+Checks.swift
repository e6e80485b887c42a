import Storage
import VirtualDisk

/// What a merge looks at before it begins, and what it refuses.
extension Merge {
  static func take(_ request: OperationRequest, _ choices: MergeChoices) throws(ImageError) -> OfflineChain {
    do throws(ImageError) {
      return try request.library.takeOffline(request.image, for: request.holder)
    } catch {
      guard error.returnValue == .fileNotFound, choices.deletes,
        let image = try? request.library.entry(named: request.image), case .success(let facts) = image.facts,
        facts.format == .vhd
      else { throw error }
      throw ImageError(
        error.returnValue, errno: error.errno,
        "\(escaped(image.path)): a parent of it is not there; if a merge of it or of a child of it with delete was cut off, "
          + "what it holds is in the file that was merged into: look there, and remove it",
        cause: error)
    }
  }

  /// Which file of the chain is meant.
  static func depth(
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

  static func task(
    _ chain: OfflineChain, _ depth: Int, _ merge: ChainMerge, _ choices: MergeChoices
  ) throws(ImageError) -> MergeTask {
    if let past = chain.mergedPast() {
      if let refusal = refusal(chain, past, choices) { throw refusal }
      if !past.isSourceKnown { return try removal(chain, depth) }
    }
    if merge.isSettled, try merge.hasPointsOfAll() { return .finish }
    let isBesideOthers = !chain.children(at: depth).certain.isEmpty
    if merge.isSettled, isBesideOthers, !choices.isForced { throw newPoints(chain, depth) }
    // Looked for only by a run that would have something left to do.
    let mayBeLeft = choices.deletes || choices.relinks
    return mayBeLeft && isBesideOthers && !merge.marksMergedFiles ? .mergeUnlessSame : .merge
  }

  /// The content is merged, and only points that were made since are not: to change the destination for them would cost its other
  /// children.
  static func newPoints(_ chain: OfflineChain, _ depth: Int) -> ImageError {
    let (own, destination) = (escaped(chain.paths[0]), escaped(chain.paths[depth]))
    return ImageError(
      .invalidState,
      "\(own): was merged into \(destination) before, and has reference points that were made since; to carry them over would "
        + "make the other children of \(destination) useless: "
        + "\(chain.children(at: depth).list()); switch its tracking off if nobody needs them, and "
        + "run it again")
  }

  /// Past which another image was merged shows what it holds over that image's data: brought down, that would
  /// overwrite what was merged, and perhaps the only copy of it.
  private static func refusal(
    _ chain: OfflineChain, _ past: MergedPast, _ choices: MergeChoices
  ) -> ImageError? {
    let (own, source) = (escaped(chain.paths[0]), escaped(past.source))
    let marked = past.depth == 0 ? "it" : escaped(chain.paths[past.depth])
    let destination = escaped(chain.paths[past.depth + 1])
    let reason: String
    if past.isSourceKnown {
      guard !choices.isForced else { return nil }
      reason =
        "\(source) was merged past \(marked), and it reads right only as a part of that chain; merged alone it would "
        + "overwrite what was merged: merge \(source) instead, or say force"
    } else if !past.isSettled {
      reason =
        "a merge of \(source) past \(marked) was cut off, and \(source) is not here: bring it back, and merge that again"
    } else if past.depth > 0 || !past.isUnchanged {
      reason =
        "\(source), which is not here any more, was merged past \(marked) into \(destination), over which it reads wrong, so "
        + "that it is not merged; what it held then is in \(destination) if it was a part of that chain: remove it, or bring "
        + "\(source) back"
    } else {
      guard !choices.deletes else { return nil }
      reason =
        "what it held was merged into \(destination), as a part of \(source), which is not here any more; this file is of no "
        + "use: remove it, or say delete"
    }
    return ImageError(.invalidState, "\(own): \(reason)")
  }

  private static func removal(_ chain: OfflineChain, _ depth: Int) throws(ImageError) -> MergeTask {
    guard depth == 1 else {
      throw ImageError(
        .invalidParameter,
        "\(escaped(chain.paths[0])): was merged into \(escaped(chain.paths[1])) as a part of another image, and nowhere else; "
          + "leave into out")
    }
    let children = chain.children(at: 0).certain
    guard children.isEmpty else {
      throw ImageError(
        .invalidState,
        "\(escaped(chain.paths[0])): cannot be deleted, because it is the parent of \(children.list()); remove or convert them "
          + "first")
    }
    return .removal
  }

  /// The children of the image itself: taken where they are to get another parent.
  static func children(
    _ chain: OfflineChain, _ choices: MergeChoices
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

  /// Records whose points do not move over, or end. Those that another word would keep are not given up without one; nor are
  /// those whose file would be removed.
  static func endedRecords(
    _ chain: OfflineChain, _ depth: Int, _ children: [TakenChild], _ task: MergeTask, _ choices: MergeChoices
  ) throws(ImageError) -> [(path: String, reason: String)] {
    var ended: [(path: String, reason: String)] = []
    if !choices.isSoleWriter {
      let doubtful = try chain.doubtfulRecords(to: task.changesDestination ? depth : 0, children)
      if let first = doubtful.first, !choices.isForced {
        throw ImageError(
          .invalidState,
          "\(escaped(first.path)): was not closed, as after a merge that was killed, and a VHD does not tell whether another "
            + "program wrote it since; merged now, its \(first.points) reference points would end for good: if no other program "
            + "wrote it, say sole-writer, which keeps them; else say force, and take a full copy")
      }
      ended = doubtful.map {
        (
          $0.path,
          "its \($0.points) reference points end, because it was not closed and a VHD does not tell whether another program "
            + "wrote it since; sole-writer would have kept them; take a full copy"
        )
      }
    }
    guard task.changesDestination || choices.deletes else { return ended }
    let refused = try chain.refusedRecords(above: depth, isSoleWriter: choices.isSoleWriter)
      .filter { record in !ended.contains { $0.path == record.path } }
    if let first = refused.first, choices.deletes, !choices.isForced {
      throw ImageError(
        .invalidState,
        "\(escaped(first.path)): its record of changes does not count, so its points do not move over, and it would be "
          + "removed: say force",
        cause: first.reason)
    }
    return ended
      + refused.map { ($0.path, "its reference points do not move over, take a full copy: \($0.reason)") }
  }
}
