import Glibc
import Storage

/// One image that a library offers.
public struct ImageEntry: Sendable {
  /// The file's name, without directories.
  public let name: String
  /// The file's absolute path.
  public let path: String
  public let identity: FileIdentity
  /// What the image says of itself, or why it cannot be read.
  public let facts: Result<ImageFacts, ImageError>
  /// Why it cannot be written, if so: a known child's name, a read-only file, an error before. Children are not looked for
  /// when all images are listed.
  public let readOnlyReason: String?
  /// A raw file of it, or of a descendant of it, is open through this library.
  public let isOnline: Bool
  /// The operation that has it to itself, as `job 7 (compact)`.
  public let operation: String?
  /// The image that was merged past this one into a file below: only in its chain this file is of use.
  public let validOnlyBelow: String?

  public init(
    name: String, path: String, identity: FileIdentity, facts: Result<ImageFacts, ImageError>,
    readOnlyReason: String?, isOnline: Bool, operation: String? = nil, validOnlyBelow: String? = nil
  ) {
    self.name = name
    self.path = path
    self.identity = identity
    self.facts = facts
    self.readOnlyReason = readOnlyReason
    self.isOnline = isOnline
    self.operation = operation
    self.validOnlyBelow = validOnlyBelow
  }
}

/// One file of a chain.
public struct ChainLink: Sendable {
  /// The path at which it was found; for the link that is missing, the path that was recorded.
  public let path: String
  public let facts: Result<ImageFacts, ImageError>
  public init(path: String, facts: Result<ImageFacts, ImageError>) {
    self.path = path
    self.facts = facts
  }
}

extension DiskLibrary {
  /// Looks at every SOURCE again and returns what is there, by name in ascending order. Waits.
  ///
  /// A file that cannot be understood stands there with its error. Of two files of one name the second is an error.
  public func scan() -> [ImageEntry] {
    var names: Set<ExactName> = []
    var entries: [ImageEntry] = []
    for reference in references() {
      guard names.insert(ExactName(reference.name)).inserted else {
        warn("\(escaped(reference.path)): is not shown, because another image has the same name")
        continue
      }
      if let entry = entry(reference, looksForChildren: false) { entries.append(entry) }
    }
    return entries.sorted { $0.name < $1.name }
  }

  /// One image by its name. Waits. `.fileNotFound` when there is none.
  public func entry(named name: String) throws(ImageError) -> ImageEntry {
    let reference = try reference(named: name)
    guard let entry = entry(reference, looksForChildren: true) else {
      throw HostFile.openingError(reference.path, ENOENT)
    }
    return entry
  }

  private func entry(_ reference: ImageReference, looksForChildren: Bool) -> ImageEntry? {
    guard let inspection = inspect(reference) else { return nil }
    let identity = inspection.stamp.identity
    return ImageEntry(
      name: reference.name, path: reference.path, identity: identity, facts: inspection.facts,
      readOnlyReason: readOnlyReason(reference, looksForChildren: looksForChildren),
      isOnline: open.withLock { $0.images[identity] != nil },
      operation: open.withLock { $0.reserved[identity] },
      validOnlyBelow: validOnlyBelow(reference, looksForIt: looksForChildren))
  }

  /// The file that an image means by its parent, where it is to be found. Waits.
  func parent(of child: ImageReference, _ inspection: Inspection) -> ImageReference? {
    guard let recorded = inspection.recordedParent else { return nil }
    return search.candidates(recorded, child: child).first { candidate in
      guard let stamp = candidate.stamp, stamp.identity != inspection.stamp.identity,
        let identifier = inspect(candidate)?.identifierForChildren
      else { return false }
      return recorded.identifiers.contains(identifier)
    }
  }

  /// The files of an image's chain, leaf first, each with what is known of it; the last has the error if the chain
  /// cannot be followed to its root. Waits.
  public func chain(of name: String) throws(ImageError) -> [ChainLink] {
    let reference = try reference(named: name)
    func image(_ reference: ImageReference, acceptsRaw: Bool) throws(ImageError) -> SharedImage {
      if let stamp = reference.stamp, let shared = open.withLock({ $0.images[stamp.identity] }) {
        return shared.image
      }
      return try SharedImage.parent(reference, acceptsRaw: acceptsRaw, locks: false, warn: warn)
    }
    let leaf: SharedImage
    do throws(ImageError) {
      leaf = try image(reference, acceptsRaw: false)
    } catch {
      return [ChainLink(path: reference.path, facts: .failure(error))]
    }
    var images: [SharedImage] = []
    var failure: ImageError?
    let builder = ChainBuilder(
      search: search,
      openParent: { (parent) throws(ImageError) -> SharedImage in
        try image(parent, acceptsRaw: leaf.layer.recordedParent?.isRaw ?? false)
      }, warn: warn)
    do throws(ImageError) { try builder.build(leaf, found: &images) } catch { failure = error }
    var links = images.map { image in
      ChainLink(
        path: image.reference.path, facts: Result { () throws(ImageError) in try image.layer.facts() })
    }
    if let failure, let last = images.last {
      links.append(ChainLink(path: last.layer.recordedParent?.allPaths.first ?? "", facts: .failure(failure)))
    }
    return links
  }

  func inspect(_ reference: ImageReference) -> Inspection? {
    guard let stamp = reference.stamp else { return nil }
    return inspector.inspect(reference, live: open.withLock { $0.images[stamp.identity]?.image })
  }

  /// Why an image cannot be written; nil: it can be. Waits.
  func readOnlyReason(_ reference: ImageReference, looksForChildren: Bool = true) -> String? {
    if isReadOnly { return "everything here is read-only" }
    if looksForChildren {
      let children = knownChildren(of: reference)
      if !children.isEmpty {
        return "it is the parent of \(children.list(atMost: 5)), which a write would orphan"
      }
    }
    if access(reference.path, W_OK) != 0 {
      return errno == EROFS ? "its file system is read-only" : "the file's permissions do not allow it"
    }
    if case .success(let facts) = inspect(reference)?.facts, facts.format == .vhds {
      return "a set file has no disk of its own"
    }
    return nil
  }
}
