/// Something that a look through the whole structure of an image found.
public struct ImageFinding: Hashable, Sendable, CustomStringConvertible {
  public enum Severity: String, Sendable {
    /// The file contradicts itself or its format. No stop of ours in the middle of a change leaves that, at any moment.
    case damage
    /// Half of a change that a power cut or a kill stopped: everything reads right, and it is mended by itself when
    /// writing begins. A file that was closed cleanly has none of these.
    case unfinished
    /// Unusual, and harmless: other programs may refuse the file or take more room than they need.
    case remark
  }

  public let severity: Severity
  /// Where in the file, in bytes; nil where it concerns the whole file.
  public let offset: UInt64?
  /// One sentence: what is there, and what should be.
  public let sentence: String

  public init(_ severity: Severity, at offset: UInt64? = nil, _ sentence: String) {
    self.severity = severity
    self.offset = offset
    self.sentence = sentence
  }

  public var description: String {
    "\(severity.rawValue)\(offset.map { " at offset \($0)" } ?? ""): \(sentence)"
  }
}

/// What was found so far. Of findings beyond `limit` only the number is kept, so that a hostile file takes no memory.
public struct ImageFindings: Sendable {
  public static let limit = 1000
  public private(set) var all: [ImageFinding] = []
  /// Findings that were not kept.
  public private(set) var omitted: UInt64 = 0

  public init() {}

  public mutating func add(_ severity: ImageFinding.Severity, at offset: UInt64? = nil, _ sentence: String) {
    guard all.count < ImageFindings.limit else {
      omitted += 1
      return
    }
    all.append(ImageFinding(severity, at: offset, sentence))
  }

  /// Nothing contradicts anything; a stop in the middle of a change may have left something to be mended.
  public var isSound: Bool { omitted == 0 && !all.contains { $0.severity == .damage } }
  /// As a clean close leaves the file.
  public var isClean: Bool { omitted == 0 && !all.contains { $0.severity != .remark } }
}
