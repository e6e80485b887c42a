import Storage

/// Finds the file that an image records as its parent.
///
/// Only directories that the user named, and the image's own, are looked into; a path in an image can choose among
/// the files there and reach nothing else. Names are compared byte by byte.
struct ParentSearch {
  /// The SOURCE directories and those named by `--parents`.
  let directories: [ImageDirectory]

  /// Candidates, best first: the relative paths from the image's own directory, then the last component of each path
  /// in the image's own directory and in the others.
  func candidates(_ parent: RecordedParent, child: ImageReference) -> [ImageReference] {
    let near = nearCandidates(parent, child: child)
    var found = Candidates(near)
    for last in ParentSearch.lastComponents(parent) {
      for directory in [child.directory] + directories { found.add(directory, last) }
    }
    return found.references
  }

  /// Those of the candidates for which the image itself speaks: they are where it says, or beside it.
  func nearCandidates(_ parent: RecordedParent, child: ImageReference) -> [ImageReference] {
    var found = Candidates([])
    let own = child.directory
    let ownFolder = Array(ParentSearch.components(child.path).dropLast())
    for relative in parent.relativePaths {
      guard let steps = ParentSearch.steps(relative), let target = ParentSearch.walk(ownFolder, steps) else {
        continue
      }
      // The path must end beneath a directory that may be looked into; it is opened from there.
      for directory in [own] + directories {
        if let name = ParentSearch.name(of: target, beneath: directory) {
          found.add(directory, name)
          break
        }
      }
    }
    // The image's name may lead through folders of the directory.
    let folder = child.name.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(child.name[...$0]) } ?? ""
    for last in ParentSearch.lastComponents(parent) { found.add(own, folder + last) }
    return found.references
  }

  /// Each path once, in order.
  private struct Candidates {
    var references: [ImageReference]
    private var paths: Set<ExactName>

    init(_ references: [ImageReference]) {
      self.references = references
      paths = Set(references.map { ExactName($0.path) })
    }

    mutating func add(_ directory: ImageDirectory, _ name: String) {
      let reference = ImageReference(directory: directory, name: name)
      if paths.insert(ExactName(reference.path)).inserted { references.append(reference) }
    }
  }

  /// By what name an absolute path, in components, is reached from a directory; nil when it does not lie beneath it.
  static func name(of target: [String], beneath directory: ImageDirectory) -> String? {
    let root = components(directory.path)
    guard target.count > root.count, zip(target, root).allSatisfy({ $0.isExactly($1) }) else { return nil }
    return target[root.count...].joined(separator: "/")
  }

  /// The name alone of each path that an image records.
  private static func lastComponents(_ parent: RecordedParent) -> [String] {
    (parent.otherPaths + parent.relativePaths).compactMap { steps($0)?.last }
  }

  /// The steps of a recorded path; nil when it cannot name a file. Absolute ones count by their last step only, so
  /// a leading separator makes a relative path useless as such.
  static func steps(_ path: String) -> [String]? {
    guard !path.utf8.contains(0) else { return nil }
    let separators = [UInt8(ascii: "\\"), UInt8(ascii: "/")]
    let steps = split(path, at: { separators.contains($0) }).filter { !$0.isExactly(".") }
    guard let last = steps.last, last != "..", steps.allSatisfy({ $0.utf8.count <= 255 }) else { return nil }
    return steps
  }

  /// Goes `steps` from an absolute folder, by words only; nil above the root.
  private static func walk(_ folder: [String], _ steps: [String]) -> [String]? {
    var place = folder
    for step in steps {
      if step == ".." {
        guard !place.isEmpty else { return nil }
        place.removeLast()
      } else {
        place.append(step)
      }
    }
    return place
  }

  /// The components of a path, without empty ones.
  static func components(_ path: String) -> [String] { split(path, at: { $0 == UInt8(ascii: "/") }) }

  /// By bytes: a separator and a combining mark behind it are one character to Swift.
  private static func split(_ path: String, at isSeparator: (UInt8) -> Bool) -> [String] {
    path.utf8.split(whereSeparator: isSeparator).map { String(Substring($0)) }
  }
}
