import Storage

/// Finds the file that an image records as its parent.
///
/// Only directories that the user named, and the image's own, are looked into; a path in an image can choose among
/// the files there and reach nothing else.
struct ParentSearch {
  /// The SOURCE directories and those named by `--parents`.
  let directories: [ImageDirectory]

  /// Candidates, best first: the relative paths from the image's own directory, then the last component of each path
  /// in the image's own directory and in the others.
  func candidates(_ parent: RecordedParent, child: ImageReference) -> [ImageReference] {
    var found: [ImageReference] = []
    func add(_ directory: ImageDirectory, _ name: String) {
      let path = directory.absolutePath(name)
      if !found.contains(where: { $0.path == path }) {
        found.append(ImageReference(directory: directory, name: name))
      }
    }
    let own = child.directory
    let ownFolder = ParentSearch.components(child.path).dropLast()
    for relative in parent.relativePaths {
      guard let steps = ParentSearch.steps(relative), let target = ParentSearch.walk(Array(ownFolder), steps)
      else {
        continue
      }
      // The path must end beneath a directory that may be looked into; it is opened from there.
      for directory in [own] + directories {
        let root = ParentSearch.components(directory.path)
        if target.count > root.count, Array(target[..<root.count]) == root {
          add(directory, target[root.count...].joined(separator: "/"))
          break
        }
      }
    }
    for path in parent.otherPaths + parent.relativePaths {
      guard let last = ParentSearch.steps(path)?.last, last != ".." else { continue }
      for directory in [own] + directories { add(directory, last) }
    }
    return found
  }

  /// The steps of a recorded path; nil when it cannot name a file. Absolute ones count by their last step only, so
  /// a leading separator makes a relative path useless as such.
  static func steps(_ path: String) -> [String]? {
    guard !path.unicodeScalars.contains(where: { $0.value == 0 }) else { return nil }
    let steps = path.split(whereSeparator: { $0 == "\\" || $0 == "/" }).map(String.init).filter { $0 != "." }
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

  private static func components(_ path: String) -> [String] {
    path.split(separator: "/").map(String.init)
  }
}
