/// The files of an image's `control` directory. The raw values are parts of inode numbers.
enum ControlFile: UInt8, CaseIterable, Sendable {
  case info = 0
  case chain = 1
  case map = 2
  case error = 3
  case tracking = 4
  case changes = 5
  case mapPicture = 6

  var name: String {
    switch self {
    case .info: "info"
    case .chain: "chain"
    case .map: "map"
    case .error: "error"
    case .tracking: "tracking"
    case .changes: "changes"
    case .mapPicture: "map.svg"
    }
  }

  /// An order may be written to it. Each look-up of such a file gives a node of its own: the kernel lets one writer at a
  /// time into a node, and the second would hang instead of being told that the first is at work.
  var isOperation: Bool { self == .tracking }

  /// It takes what is written to it.
  var isWritable: Bool { self == .tracking || self == .changes }

  init?(name: Substring) {
    guard let file = ControlFile.allCases.first(where: { $0.name == name }) else { return nil }
    self = file
  }
}

/// A name in `control`: a file, and behind a question mark what is asked of it: `map?format=json`.
///
/// Looking a name up takes it apart and no more; whether the question makes sense is found out when the file
/// is opened.
struct ControlQuery: Hashable, Sendable {
  let file: ControlFile
  /// As it stands behind the question mark; nil where there is none.
  let question: String?

  init(_ file: ControlFile, question: String? = nil) {
    self.file = file
    self.question = question
  }

  /// Nil when no control file has that name.
  init?(name: String) {
    guard let mark = name.firstIndex(of: "?") else {
      guard let file = ControlFile(name: name[...]) else { return nil }
      self.init(file)
      return
    }
    guard let file = ControlFile(name: name[..<mark]) else { return nil }
    self.init(file, question: String(name[name.index(after: mark)...]))
  }

  /// The `key=value` pairs, joined by `&`, in their order; nil when a part is no pair or a key comes twice.
  var pairs: [(key: String, value: String)]? {
    guard let question, !question.isEmpty else { return [] }
    var result: [(key: String, value: String)] = []
    for part in question.split(separator: "&", omittingEmptySubsequences: false) {
      guard let mark = part.firstIndex(of: "=") else { return nil }
      let key = String(part[..<mark])
      if key.isEmpty || result.contains(where: { $0.key == key }) { return nil }
      result.append((key, String(part[part.index(after: mark)...])))
    }
    return result
  }
}
