import Storage

/// The line that is written to an operation file, or a command's options in the same form: words, and `key=value` pairs,
/// with blanks between them.
///
/// A word with a blank in it stands in double quotes; within and without them, `\NNN` is the byte with that octal number
/// (`\040` a blank, `\134` a backslash), as reports write it. A quoted word is never taken for a pair.
///
/// An operation takes what it knows, and says at the end that nothing else may be there (`failIfLeft`).
public struct OperationWords: Sendable {
  private enum Item {
    case word(String)
    case pair(key: String, value: String)
  }

  private var items: [Item] = []

  /// None: an empty line.
  public init() {}

  /// Takes a line apart. Errors: `.invalidParameter` for a quotation that does not end, a byte that is none, what is no
  /// UTF-8.
  public init(line: String) throws(ImageError) {
    var reader = LineReader(line)
    while let piece = try reader.next() {
      if let mark = piece.keyLength {
        items.append(
          .pair(key: try piece.text(piece.bytes[..<mark]), value: try piece.text(piece.bytes[(mark + 1)...])))
      } else {
        items.append(.word(try piece.text(piece.bytes[...])))
      }
    }
  }

  // MARK: - For commands

  /// Adds a word, which may hold anything.
  public mutating func add(_ word: String) { items.append(.word(word)) }

  public mutating func add(_ key: String, _ value: String) { items.append(.pair(key: key, value: value)) }

  /// Whether the operation is only to say what it would do.
  public var isDryRun: Bool { items.contains { if case .word("dry-run") = $0 { true } else { false } } }

  /// The words as a line that says the same, in which nothing is left that a terminal would obey.
  public var line: String {
    items.map { item in
      switch item {
      case .pair(let key, let value): "\(key)=\(LineReader.quoted(value, always: false))"
      case .word(let word): LineReader.quoted(word, always: word.isEmpty || word.contains("="))
      }
    }.joined(separator: " ")
  }

  // MARK: - For operations

  /// Whether this very word is there; takes it, however often it is there.
  public mutating func take(flag: String) -> Bool {
    let before = items.count
    items.removeAll { if case .word(flag) = $0 { true } else { false } }
    return items.count < before
  }

  /// The value of `key=value`, which is taken; nil where there is none.
  ///
  /// Errors: `.invalidParameter` where it is there twice.
  public mutating func take(key: String) throws(ImageError) -> String? {
    var values: [String] = []
    items.removeAll { item in
      guard case .pair(key, let value) = item else { return false }
      values.append(value)
      return true
    }
    guard values.count <= 1 else {
      throw ImageError(.invalidParameter, "\(escaped(key))= is there more than once")
    }
    return values.first
  }

  /// The first word that is left, which is taken; nil where there is none.
  public mutating func takeFirst() -> String? {
    guard let index = items.firstIndex(where: { if case .word = $0 { true } else { false } }),
      case .word(let word) = items.remove(at: index)
    else { return nil }
    return word
  }

  /// Errors: `.invalidParameter` where anything is left.
  ///
  /// - Parameter known: what may stand there: `full, quick, … or dry-run`.
  public func failIfLeft(_ operation: String, known: String) throws(ImageError) {
    guard let item = items.first else { return }
    let word =
      switch item {
      case .word(let word): word
      case .pair(let key, let value): "\(key)=\(value)"
      }
    throw ImageError(
      .invalidParameter, "\(operation): \"\(escaped(word))\" is not understood; it takes \(known)")
  }

  public var isEmpty: Bool { items.isEmpty }
}

/// Takes the words of a line out of it, one by one.
private struct LineReader {
  struct Piece {
    var bytes: [UInt8] = []
    /// Bytes of the key in front of `=`; nil where it is a word.
    var keyLength: Int?

    func text(_ bytes: ArraySlice<UInt8>) throws(ImageError) -> String {
      guard let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
        throw ImageError(
          .invalidParameter, "\"\(escaped(String(decoding: bytes, as: UTF8.self)))\" is no UTF-8 text")
      }
      return text
    }
  }

  private var rest: ArraySlice<UInt8>

  init(_ line: String) { rest = Array(line.utf8)[...] }

  mutating func next() throws(ImageError) -> Piece? {
    while let first = rest.first, LineReader.isBlank(first) { rest.removeFirst() }
    guard let first = rest.first else { return nil }
    var piece = Piece()
    let mayBePair = first != UInt8(ascii: "\"")
    var isQuoted = false
    while let byte = rest.first, isQuoted || !LineReader.isBlank(byte) {
      rest.removeFirst()
      switch byte {
      case UInt8(ascii: "\""): isQuoted.toggle()
      case UInt8(ascii: "\\"): piece.bytes.append(try octal())
      case UInt8(ascii: "="):
        if mayBePair, piece.keyLength == nil, LineReader.isKey(piece.bytes) {
          piece.keyLength = piece.bytes.count
        }
        piece.bytes.append(byte)
      default: piece.bytes.append(byte)
      }
    }
    guard !isQuoted else {
      throw ImageError(.invalidParameter, "a quotation mark is missing at the end of the line")
    }
    return piece
  }

  private mutating func octal() throws(ImageError) -> UInt8 {
    let digits = rest.prefix(3)
    rest = rest.dropFirst(3)
    guard digits.count == 3, digits.allSatisfy({ (0x30...0x37).contains($0) }),
      let byte = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
    else {
      throw ImageError(
        .invalidParameter, "behind a backslash three octal digits are needed; \\134 is the backslash itself")
    }
    return byte
  }

  /// What is read as this text.
  static func quoted(_ text: String, always: Bool) -> String {
    let bytes = escaped(text).utf8.flatMap { $0 == UInt8(ascii: "\"") ? Array("\\042".utf8) : [$0] }
    let inner = String(decoding: bytes, as: UTF8.self)
    return always || bytes.contains(0x20) ? "\"\(inner)\"" : inner
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

  private static func isKey(_ bytes: [UInt8]) -> Bool {
    !bytes.isEmpty
      && bytes.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D }
  }
}
