import Storage

/// A file that has another as its parent, or may have: a change of that other one makes it useless.
public struct KnownChild: Sendable {
  /// Where it is; bytes that are no text are replaced.
  public let path: String
  /// The same, safe to print; bytes that are no text as `\NNN`.
  public let printedPath: String
  /// Why nobody can tell whether it is a child; nil: it is one.
  public let doubt: ImageError?

  public var isCertain: Bool { doubt == nil }

  init(_ file: ListedFile, in directory: ImageDirectory, doubt: ImageError? = nil) {
    path = directory.printedPath(file)
    if let name = file.text {
      printedPath = escaped(directory.absolutePath(name))
    } else {
      let name = file.name.map { byte in
        byte < 0x80 ? escaped(String(UnicodeScalar(byte))) : "\\" + String(byte, radix: 8)
      }
      printedPath = escaped(directory.absolutePath("")) + name.joined()
    }
    self.doubt = doubt
  }

  /// A folder that cannot be listed: any file in it may be a child.
  init(folder: String, doubt: ImageError) {
    path = folder
    printedPath = escaped(folder)
    self.doubt = doubt
  }
}

extension Sequence<KnownChild> {
  /// Their paths in one line; of very many the first ones, and how many more there are.
  public func list(atMost limit: Int = 20) -> String {
    let paths = map(\.printedPath)
    let rest = paths.count - limit
    return paths.prefix(limit).joined(separator: ", ") + (rest > 0 ? " and \(rest) others" : "")
  }

  /// Those that are children for certain.
  public var certain: [KnownChild] { filter(\.isCertain) }

  /// Those that may be.
  public var doubtful: [KnownChild] { filter { !$0.isCertain } }

  /// Which may be children, why that cannot be told, and what to do; nil where there are none.
  public var doubts: String? {
    let doubtful = doubtful
    guard let reason = doubtful.first?.doubt?.description else { return nil }
    if doubtful.count == 1 {
      return
        "whether \(doubtful.list()) is one cannot be told (\(reason)): make it readable, or move it away if it belongs to "
        + "another disk"
    }
    return
      "whether any of \(doubtful.list()) is one cannot be told (\(reason)): make them readable, or move those away that "
      + "belong to other disks"
  }
}
