import Storage
import VirtualDisk

/// What is done when the merge is done: everything is stable in the destination by then, and whoever needs it knows it.
extension Merge {
  static func checkRelinking(
    _ chain: OfflineChain, _ depth: Int, _ merge: ChainMerge, _ children: [TakenChild]
  ) throws(ImageError) {
    let destination = chain.paths[depth]
    for child in children {
      try child.checkRelinking(
        to: merge, relativePath: try RelativePath.recorded(from: child.path, to: destination),
        absolutePath: try RelativePath.resolved(destination).string)
    }
  }

  func relink() throws(ImageError) {
    let destination = chain.paths[depth]
    for child in children {
      do throws(ImageError) {
        try child.relink(
          to: merge, relativePath: try RelativePath.recorded(from: child.path, to: destination),
          absolutePath: try RelativePath.resolved(destination).string)
      } catch {
        throw ImageError(
          error.returnValue, errno: error.errno,
          "\(escaped(destination)): everything is merged into it, but \(escaped(child.path)) has not become its child; it "
            + "stays one of \(escaped(chain.paths[0])): mend the cause and run it again",
          cause: error)
      }
    }
  }

  /// VHDX from the top, so that what is left when this ends in the middle is a chain still, one that says of itself that it is
  /// of no use any more. A VHD cannot say it, and what is left of a chain of those could be merged once more, over what
  /// was merged: so they go from the bottom, and what is left cannot be opened.
  func deleteMergedFiles() throws(ImageError) {
    let levels = merge.marksMergedFiles ? Array(0..<depth) : (0..<depth).reversed()
    for (index, level) in levels.enumerated() {
      do throws(ImageError) {
        try chain.remove(at: level)
      } catch {
        let left = levels[index...].map { escaped(chain.paths[$0]) }.joined(separator: ", ")
        let relinked = children.map { escaped($0.path) }.joined(separator: ", ")
        throw ImageError(
          error.returnValue, errno: error.errno,
          "\(escaped(chain.paths[depth])): everything is merged into it"
            + (relinked.isEmpty ? "" : ", and \(relinked) linked to it")
            + "; of no use any more: \(left): remove them yourself, or mend the cause and run it again",
          cause: error)
      }
    }
  }

  func removeLeftover() throws(ImageError) -> [ReportField] {
    let fields = [
      ReportField("merged_into", .text(chain.paths[depth])),
      files("merged_files", "merged", [chain.paths[0]]),
      ReportField("bytes_copied", .number(0)), ReportField("already_merged", .flag(true)),
    ]
    guard !choices.isDry else { return fields + [ReportField("dry_run", .flag(true))] }
    try chain.remove(at: 0)
    return fields + [files("deleted_files", "deleted", [chain.paths[0]])]
  }
}
