import Storage

/// An image that was merged past a file of a chain, and whose content the chain lacks: see `MergeMark`.
package struct MergedPast: Sendable {
  /// Where in the chain the file stands that says so; 0 is the leaf.
  package var depth: Int
  /// The name of the image that was merged, as it is now where it was found.
  package var source: String
  /// A file that holds its content was found.
  package var isSourceKnown: Bool
  /// That merge came to its end.
  package var isSettled: Bool
  /// The file that says so holds what it held then, over what was merged into.
  package var isUnchanged: Bool
}

extension OfflineChain {
  /// What was merged past a file of this chain, other than what the chain holds. Waits.
  package func mergedPast() -> MergedPast? {
    var search = MergedPastSearch()
    for (depth, image) in images.enumerated() {
      guard let mark = search.next(image.layer.recordedParent) else { continue }
      let source = mark.id.flatMap {
        ChildSurvey(library, files: images.map(\.reference)).carriers(of: $0).first
      }
      return MergedPast(
        depth: depth, source: source?.file.text ?? mark.name, isSourceKnown: source != nil,
        isSettled: mark.isSettled,
        isUnchanged: mark.isInPlace && mark.own == image.layer.identifierForChildren)
    }
    return nil
  }

  /// The paths of the other children of the files at `depths` that were merged into those before, they or what stands on
  /// them, and show nothing that is missing there. Waits.
  package func mergedChildren(of depths: ClosedRange<Int>) -> [String] {
    let survey = ChildSurvey(library, files: images.map(\.reference))
    let own = Set(images.map { $0.file.identity })
    return depths.flatMap { survey.children(of: parent($0)) }
      .filter { !own.contains($0.identity) && survey.isMerged($0) }
      .map(\.known.path).sorted()
  }
}

extension ChildSurvey {
  /// It holds what it held when it was merged, and so does what was merged, where that is still there; and nothing else
  /// stands on it.
  fileprivate func isMerged(_ child: Found) -> Bool {
    guard let mark = child.parent.mergeMark, mark.isInPlace, let id = mark.id, mark.own == child.identifier
    else { return false }
    return children(of: Parent(identity: child.identity, identifier: child.identifier, format: child.format))
      .allSatisfy { above in
        !child.parent.mergeIDs.contains(id) && above.parent.mergeIDs.contains(id)
          && above.identifier == mark.source
      }
  }
}
