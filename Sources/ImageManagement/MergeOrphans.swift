import Storage
import VirtualDisk

/// What stands on the files that a merge changes or removes, and not on the image that is merged.
struct MergeOrphans: Sendable {
  /// If the destination is changed.
  var whenMerged: [KnownChild] = []
  /// If it need not be.
  var whenDone: [KnownChild] = []

  init() {}

  init(_ chain: OfflineChain, _ depth: Int, _ task: MergeTask, _ choices: MergeChoices) {
    if task.changesDestination { whenMerged = chain.othersEndangered(byChanging: 1...depth) }
    if depth > 1, choices.deletes { whenDone = chain.othersEndangered(byChanging: 1...(depth - 1)) }
  }

  /// What can be told before the destination is looked at; nil: nothing stands in the way.
  func refusal(_ chain: OfflineChain, _ depth: Int, _ task: MergeTask) -> ImageError? {
    let found = if case .merge = task { whenMerged } else { whenDone }
    return found.isEmpty ? nil : MergeOrphans.refusal(chain, depth, found)
  }

  static func refusal(_ chain: OfflineChain, _ depth: Int, _ orphans: [KnownChild]) -> ImageError {
    let own = escaped(chain.paths[depth])
    let known = Set(chain.mergedChildren(of: 1...depth))
    let merged = orphans.certain.filter { known.contains($0.path) }
    let lost = orphans.certain.filter { !known.contains($0.path) }
    var parts: [String] = []
    if !lost.isEmpty {
      parts.append(
        "a merge into it would make other images useless whose chains it or a file above it is a part of: \(lost.list()); merge "
          + "or convert them first, or say force")
    } else if merged.isEmpty {
      parts.append("a merge into it makes every other image useless that stands on it or on a file above it")
    }
    if !merged.isEmpty {
      parts.append(
        "merged into it before, and holding nothing else: \(merged.list()); remove what was merged")
    }
    if let doubts = orphans.doubts { parts.append("\(doubts), or say force") }
    return ImageError(.invalidState, "\(own): \(parts.joined(separator: "; "))")
  }
}
