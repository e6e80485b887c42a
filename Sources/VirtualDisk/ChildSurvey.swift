import Storage

/// One look at all directories in which children of a file may be: which images there are, and whose children.
///
/// A child is recognized by the identity that it records. Where it says itself at which place its parent is, and a file with
/// that identity is there, it is that one's child, and of no copy of it.
///
/// Files are looked at by their contents, whatever their names; what is known of one that did not change is not read again.
struct ChildSurvey {
  struct Found {
    let file: ListedFile
    let directory: ImageDirectory
    let format: ImageFormat
    /// By which its own children know it.
    let identifier: GUID
    let parent: RecordedParent

    var identity: FileIdentity { file.stamp.identity }
    var known: KnownChild { KnownChild(file, in: directory) }
  }

  /// A file whose children are asked for.
  struct Parent {
    let identity: FileIdentity
    let identifier: GUID
    let format: ImageFormat
  }

  private let library: DiskLibrary
  private let search: ParentSearch
  /// Differencing images, by each identity that they give their parent.
  private var children: [GUID: [Found]] = [:]
  private var doubtful: [(child: KnownChild, identity: FileIdentity?, format: ImageFormat?)] = []

  /// Waits. Looks into the directories of the library's sources, those of `--parents`, and those of `files`.
  init(_ library: DiskLibrary, files: [ImageReference]) {
    self.library = library
    var directories: [ImageDirectory] = []
    var seen: Set<FileIdentity> = []
    func add(_ directory: ImageDirectory) {
      if let identity = directory.identity, !seen.insert(identity).inserted { return }
      directories.append(directory)
    }
    for source in library.sources {
      switch source {
      case .directory(let directory): add(directory)
      case .file(let reference): add(reference.directory)
      }
    }
    for directory in library.search.directories { add(directory) }
    for file in files {
      do throws(ImageError) {
        add(try file.folder())
      } catch {
        doubtful.append((KnownChild(folder: file.path, doubt: error), nil, nil))
      }
    }
    search = ParentSearch(directories: directories)
    var met: Set<FileIdentity> = []
    for directory in directories { look(into: directory, &met) }
  }

  private mutating func look(into directory: ImageDirectory, _ met: inout Set<FileIdentity>) {
    let files: [ListedFile]
    do throws(ImageError) {
      files = try directory.regularFiles()
    } catch {
      doubtful.append((KnownChild(folder: directory.path, doubt: error), nil, nil))
      return
    }
    for file in files where met.insert(file.stamp.identity).inserted {
      switch library.kin(of: file, in: directory) {
      case .stranger, .image(_, _, nil): break
      case .image(let format, let identifier, let parent?):
        let found = Found(
          file: file, directory: directory, format: format, identifier: identifier, parent: parent)
        for recorded in Set(parent.identifiers) where recorded != .zero {
          children[recorded, default: []].append(found)
        }
      case .doubtful(let error, let format):
        doubtful.append((KnownChild(file, in: directory, doubt: error), file.stamp.identity, format))
      }
    }
  }

  /// The direct children of a file. Waits.
  func children(of parent: Parent) -> [Found] {
    (children[parent.identifier] ?? []).filter { child in
      child.identity != parent.identity && child.format == parent.format && isChild(child, of: parent)
    }
  }

  private func isChild(_ child: Found, of parent: Parent) -> Bool {
    // Only the folder counts of the child's own name.
    let reference = ImageReference(directory: child.directory, name: child.file.text ?? "child")
    for candidate in search.nearCandidates(child.parent, child: reference) {
      guard let stamp = candidate.stamp, stamp.identity != child.identity else { continue }
      if stamp.identity == parent.identity { return true }
      if let identifier = library.inspect(candidate)?.identifierForChildren,
        child.parent.identifiers.contains(identifier)
      {
        return false
      }
    }
    // It is not where the child says; so it may be any that has the identity.
    return true
  }

  /// All files whose chains lead through one of `parents`, nearest first, but for those `except`. Waits.
  func descendants(of parents: [Parent], except: Set<FileIdentity>) -> [Found] {
    var found: [Found] = []
    var met = except
    var queue = parents[...]
    while let parent = queue.popFirst() {
      for child in children(of: parent) where met.insert(child.identity).inserted {
        found.append(child)
        queue.append(Parent(identity: child.identity, identifier: child.identifier, format: child.format))
      }
    }
    return found
  }

  /// The images that hold the content of a merge (`MergeIDs`).
  func carriers(of merge: GUID) -> [Found] {
    var met: Set<FileIdentity> = []
    return children.values.joined().filter {
      $0.parent.mergeIDs.contains(merge) && met.insert($0.identity).inserted
    }
  }

  /// Files that may be children of one of that format, but for those `except`.
  func doubtful(_ format: ImageFormat, except: Set<FileIdentity>) -> [KnownChild] {
    doubtful.filter { entry in
      entry.format ?? format == format && !(entry.identity.map(except.contains) ?? false)
    }.map(\.child)
  }
}

extension DiskLibrary {
  /// The children of an image, for certain, in all directories in which they may be: a write to it would orphan them. Waits.
  func knownChildren(of reference: ImageReference) -> [KnownChild] {
    guard let inspection = inspect(reference), let identifier = inspection.identifierForChildren,
      case .success(let facts) = inspection.facts
    else { return [] }
    let parent = ChildSurvey.Parent(
      identity: inspection.stamp.identity, identifier: identifier, format: facts.format)
    return ChildSurvey(self, files: [reference]).children(of: parent).map(\.known)
      .sorted { $0.path < $1.path }
  }

  /// What a file has to do with chains; that of an open one from its image, whose word is newer than the file's.
  fileprivate func kin(of file: ListedFile, in directory: ImageDirectory) -> Kin {
    guard let image = open.withLock({ $0.images[file.stamp.identity]?.image }), image.isImage else {
      return kin.kin(of: file, in: directory)
    }
    let layer = image.layer
    return .image(layer.format, identifier: layer.identifierForChildren, parent: layer.recordedParent)
  }
}

extension SharedImage {
  /// Not a raw file, of which nothing is known.
  fileprivate var isImage: Bool { if case .raw = layer { false } else { true } }
}
