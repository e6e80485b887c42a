import Storage

/// Files that a user names.
extension DiskLibrary {
  /// Which file a path means that was written to a control file: it is relative to the image's directory, and must lead
  /// beneath that, a SOURCE directory or one of `--parents`, through no link. Waits.
  ///
  /// Errors: `.invalidParameter` for what cannot be such a path; `.accessDenied` for one that leads elsewhere;
  /// `.fileNotFound`.
  public func identity(ofPath path: String, from image: String) throws(ImageError) -> FileIdentity {
    let own = try reference(named: image).directory
    guard let first = path.utf8.first, first != UInt8(ascii: "/"), !path.utf8.contains(0) else {
      throw ImageError(
        .invalidParameter,
        "\"\(escaped(path))\": must be a path relative to the directory of \(escaped(image))")
    }
    var target = ParentSearch.components(own.path)
    for step in ParentSearch.components(path) where step != "." {
      if step != ".." {
        target.append(step)
      } else if target.popLast() == nil {
        break
      }
    }
    for directory in [own] + search.directories {
      guard let name = ParentSearch.name(of: target, beneath: directory) else { continue }
      return try directory.open(name, writable: false).identity
    }
    throw ImageError(
      .accessDenied,
      "\"\(escaped(path))\": leads out of the directories that this mount may use; name its directory with --parents"
    )
  }

  /// Which file a user's own path means; links are followed. Waits. Errors: the system's.
  public static func identity(ofUserPath path: String) throws(ImageError) -> FileIdentity {
    let reference = try ImageReference(userPath: path)
    guard let stamp = reference.stamp else {
      throw ImageError(.fileNotFound, "\(escaped(path)): is not there")
    }
    return stamp.identity
  }
}
