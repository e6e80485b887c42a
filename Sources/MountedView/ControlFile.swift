import ImageManagement

/// The files of an image's `control` directory.
enum ControlFile: Hashable, CaseIterable, Sendable {
  case info, chain, map, error, tracking, changes, mapPicture
  /// The running or the last job, and what ends it.
  case job, cancel
  /// One that begins a job: a place in `Operations.all`.
  case operation(Int)

  private static let fixed: [ControlFile] = [
    .info, .chain, .map, .error, .tracking, .changes, .mapPicture, .job, .cancel,
  ]

  static let allCases = fixed + Operations.all.indices.map(ControlFile.operation)

  /// A part of inode numbers.
  var code: Int {
    switch self {
    case .info: 0
    case .chain: 1
    case .map: 2
    case .error: 3
    case .tracking: 4
    case .changes: 5
    case .mapPicture: 6
    case .job: 7
    case .cancel: 8
    case .operation(let place): ControlFile.fixed.count + place
    }
  }

  init?(code: Int) {
    guard let file = ControlFile.allCases.first(where: { $0.code == code }) else { return nil }
    self = file
  }

  var name: String {
    switch self {
    case .info: "info"
    case .chain: "chain"
    case .map: "map"
    case .error: "error"
    case .tracking: "tracking"
    case .changes: "changes"
    case .mapPicture: "map.svg"
    case .job: "job"
    case .cancel: "cancel"
    case .operation(let place): Operations.all[place].word
    }
  }

  /// An order may be written to it. Each look-up of such a file gives a node of its own: the kernel lets one writer at a
  /// time into a node, and the second would hang instead of being told that the first is at work.
  var takesOrders: Bool {
    switch self {
    case .tracking, .cancel, .operation: true
    default: false
    }
  }

  /// It takes what is written to it.
  var isWritable: Bool { takesOrders || self == .changes }

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
