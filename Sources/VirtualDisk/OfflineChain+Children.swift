import Storage

/// Who else stands on the files of a chain. Each of these looks at the directories anew, and waits.
extension OfflineChain {
  /// The files that show something else, or cannot be opened any more, when the files at `depths` are changed: their
  /// other children, the children of these, and so on; then those of which it cannot be told, with the reason.
  ///
  /// What stands on the leaf is not among them.
  public func othersEndangered(byChanging depths: ClosedRange<Int>) -> [KnownChild] {
    let survey = ChildSurvey(library, files: images.map(\.reference))
    let found = survey.descendants(of: depths.map(parent), except: identities)
    return found.map(\.known).sorted { $0.path < $1.path }
      + survey.doubtful(images[0].layer.format, except: identities)
  }

  /// The children of the file at `depth`, other than that of this chain; then the files that may be, with the reason.
  public func children(at depth: Int) -> [KnownChild] {
    let survey = ChildSurvey(library, files: images.map(\.reference))
    let found = survey.children(of: parent(depth)).filter { !identities.contains($0.identity) }
    return found.map(\.known).sorted { $0.path < $1.path }
      + survey.doubtful(images[0].layer.format, except: identities)
  }

  /// The paths of the files that have the file at `depth` as their parent for certain, other than that of this chain.
  public func otherChildren(at depth: Int) -> [String] { children(at: depth).certain.map(\.path) }

  /// The children of the leaf, by names with which they can be opened.
  ///
  /// Errors: `.invalidParameter` for one whose name is no text.
  func referencesOfChildren() throws(ImageError) -> [ImageReference] {
    let survey = ChildSurvey(library, files: images.map(\.reference))
    var references: [ImageReference] = []
    for child in survey.children(of: parent(0)) where !identities.contains(child.identity) {
      guard let name = child.file.text else {
        throw ImageError(
          .invalidParameter,
          "\(child.known.printedPath): has a name that is not UTF-8, by which it cannot be linked anew; rename it"
        )
      }
      references.append(ImageReference(directory: child.directory, name: name))
    }
    return references
  }

  func parent(_ depth: Int) -> ChildSurvey.Parent {
    let image = images[depth]
    return ChildSurvey.Parent(
      identity: image.file.identity, identifier: image.layer.identifierForChildren, format: image.layer.format
    )
  }

  private var identities: Set<FileIdentity> { Set(images.map { $0.file.identity }) }
}
